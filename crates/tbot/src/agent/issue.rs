//! Everything that the outputs of one round need of the cluster, in one call; one that is refused does not cost the others
//! theirs. Keys stay here.

use super::AgentError;
use api::convert;
use api::status::Problem;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::{IssueOutputsRequest, OutputRequest};
use identity::key::SubjectKey;
use identity::svid::WorkloadTrust;
use std::sync::Arc;
use tonic::transport::Channel;

/// The most that auth answers in one call.
const MOST: usize = 64;
const DOING: &str = "asking for what the outputs need";

/// One thing that is asked for.
pub struct Wish {
    /// What.
    pub kind: Kind,
    /// The key that it is about, if it is about one.
    pub key: Option<SubjectKey>,
}

/// What the cluster gave for it.
pub struct Granted {
    /// What.
    pub answer: Answer,
    /// The key of the wish.
    pub key: Option<SubjectKey>,
}

/// What the cluster gave for one output, in the order of its wishes.
pub struct Given {
    /// Each.
    pub granted: std::vec::IntoIter<Granted>,
    workload_trust: Option<Arc<WorkloadTrust>>,
}

impl Given {
    /// The next thing, with its key.
    pub fn next(&mut self) -> Result<(Answer, SubjectKey), AgentError> {
        match self.granted.next() {
            Some(Granted { answer, key: Some(key) }) => Ok((answer, key)),
            _ => Err(too_few()),
        }
    }

    /// Whom to trust for workloads, as of the same moment.
    pub fn workload_trust(&self) -> Result<Arc<WorkloadTrust>, AgentError> {
        self.workload_trust.clone().ok_or_else(|| unusable("it has no trust bundle for workloads"))
    }
}

/// What was given for each of `outputs`, or why nothing was. One thing that is refused fails the output that it is for, and no
/// other.
pub async fn together(channel: Channel, outputs: Vec<Vec<Wish>>) -> Vec<Result<Given, Arc<AgentError>>> {
    let lengths: Vec<usize> = outputs.iter().map(Vec::len).collect();
    let mut wishes = outputs.into_iter().flatten();
    let mut answers = Vec::with_capacity(lengths.iter().sum());
    let mut workload_trust = None;
    loop {
        let some: Vec<Wish> = wishes.by_ref().take(MOST).collect();
        if some.is_empty() {
            break;
        }
        answers.extend(call(channel.clone(), some, &mut workload_trust).await);
    }
    let mut answers = answers.into_iter();
    let given = lengths.into_iter().map(|length| {
        let all: Vec<_> = answers.by_ref().take(length).collect();
        let granted: Vec<Granted> = all.into_iter().collect::<Result<_, _>>()?;
        Ok(Given { granted: granted.into_iter(), workload_trust: workload_trust.clone() })
    });
    given.collect()
}

async fn call(
    channel: Channel,
    wishes: Vec<Wish>,
    workload_trust: &mut Option<Arc<WorkloadTrust>>,
) -> Vec<Result<Granted, Arc<AgentError>>> {
    let (kinds, keys): (Vec<Kind>, Vec<_>) = wishes.into_iter().map(|wish| (wish.kind, wish.key)).unzip();
    let doing: Vec<&'static str> = kinds.iter().map(doing).collect();
    let outputs = kinds.into_iter().map(|kind| OutputRequest { kind: Some(kind) }).collect();
    let answered =
        CertificateServiceClient::new(channel).issue_outputs(IssueOutputsRequest { outputs }).await;
    let answered = answered.map_err(AgentError::call(DOING)).and_then(|answer| {
        let answer = answer.into_inner();
        if answer.outputs.len() != keys.len() {
            return Err(unusable("it has another number of answers than outputs were asked for"));
        }
        let trust = answer.workload_trust.map(convert::workload_trust).transpose();
        Ok((answer.outputs, trust.map_err(unusable)?))
    });
    let (outputs, trust) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            let error = Arc::new(error);
            return keys.iter().map(|_| Err(Arc::clone(&error))).collect();
        }
    };
    *workload_trust = trust.map(Arc::new).or(workload_trust.take());
    let answers = keys.into_iter().zip(doing).zip(outputs);
    let granted = answers.map(|((key, doing), output)| match output.answer {
        Some(Answer::Refused(refused)) => {
            Err(Arc::new(AgentError::Cluster { doing, problem: Box::new(Problem::from(refused)) }))
        }
        Some(answer) => Ok(Granted { answer, key }),
        None => Err(Arc::new(too_few())),
    });
    granted.collect()
}

fn doing(kind: &Kind) -> &'static str {
    match kind {
        Kind::Certificate(_) => "asking for the output's certificates",
        Kind::Host(_) => "asking for a host certificate",
        Kind::X509Svid(_) => "asking for an X.509-SVID",
        Kind::JwtSvid(_) => "asking for a JWT-SVID",
    }
}

/// The answer is none.
pub fn unusable(reason: impl std::fmt::Display) -> AgentError {
    AgentError::Unusable { what: "the cluster's answer", reason: reason.to_string() }
}

/// Less was answered than was asked for, or something else.
pub fn too_few() -> AgentError {
    unusable("it is not what was asked for")
}
