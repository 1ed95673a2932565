//! Outputs of a bot: everything that one round of its renewals needs, in one call. Certificates, documents for workloads, host
//! certificates of servers that it looks after.
//!
//! Each is decided alone, and a refusal is the answer to that one. What is an event and nothing else is committed together; a
//! host certificate takes names, which others want as well, and is committed for itself.

use super::issuing::Issuing;
use super::{Bearer, Plan, committed, ssh_host, svids};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::core::Core;
use crate::metrics::Issued;
use crate::refusal;
use api::status::Problem;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::{CertificateRequest, HostRequest, IssueOutputsResponse, OutputAnswer, OutputRequest};
use async_trait::async_trait;
use store::{NewRecord, Txn};

/// The most outputs in one call: each is an event of one transaction, which rests on what it was decided by as well.
const MOST: usize = 64;

/// An answer to each request. The call itself fails only where the caller may have nothing at all, or the store fails.
pub async fn issue(
    core: &Core,
    caller: &Caller,
    requests: &[OutputRequest],
) -> Result<IssueOutputsResponse, Problem> {
    if requests.is_empty() || requests.len() > MOST {
        return Err(refusal::invalid(format!("1 to {MOST} outputs can be asked for at once")));
    }
    let bearer = Bearer::of(caller)?;
    let issuing = Issuing { core, caller, bearer: &bearer };
    let requests: Vec<Request<'_>> = requests.iter().map(Request::of).collect();
    let over = Over::of(core, caller, &requests).await;
    let asked: Vec<&Ask<'_>> =
        requests.iter().filter(|request| over.refuses(request).is_none()).filter_map(Request::ask).collect();
    let workload_trust = asked.iter().any(|ask| matches!(ask, Ask::Svid(_))).then(|| core.workload_trust());
    let mut decided = issuing.together(&asked).await?.into_iter();
    let mut outputs = Vec::with_capacity(requests.len());
    for request in &requests {
        let outcome = match (over.refuses(request), request) {
            (Some(problem), _) => Err(problem.clone()),
            (None, Request::Host(request)) => ssh_host::issue(issuing, request).await.map(Answer::Host),
            (None, Request::Ask(_)) => decided.next().unwrap_or_else(|| Err(unanswered())),
            (None, Request::Unknown) => {
                Err(refusal::invalid("the auth service knows no output of this kind; upgrade it first"))
            }
        };
        let answer = outcome.unwrap_or_else(|problem| Answer::Refused(problem.into()));
        outputs.push(OutputAnswer { answer: Some(answer) });
    }
    Ok(IssueOutputsResponse { outputs, workload_trust })
}

fn unanswered() -> Problem {
    refusal::internal("an output was left without an answer", "fewer answers than requests")
}

/// What the caller has had as much of as it may have: of the one kind, or of the other.
struct Over {
    certificates: Option<Problem>,
    svids: Option<Problem>,
}

impl Over {
    /// Spends what is asked for.
    async fn of(core: &Core, caller: &Caller, requests: &[Request<'_>]) -> Self {
        let svids = requests.iter().filter(|request| request.is_svid()).count();
        let certificates = requests.len() - svids;
        Self {
            certificates: core.spend(&core.budgets.outputs, caller, certificates).await.err(),
            svids: core.spend(&core.budgets.svids, caller, svids).await.err(),
        }
    }

    fn refuses(&self, request: &Request<'_>) -> Option<&Problem> {
        if request.is_svid() { self.svids.as_ref() } else { self.certificates.as_ref() }
    }
}

/// What is asked for.
enum Request<'a> {
    /// A host certificate.
    Host(&'a HostRequest),
    /// Something else.
    Ask(Ask<'a>),
    /// What a newer agent has.
    Unknown,
}

/// What is an event and nothing else in the store.
enum Ask<'a> {
    /// Certificates for SSH and TLS.
    Certificate(&'a CertificateRequest),
    /// A document for a workload.
    Svid(svids::Ask<'a>),
}

impl<'a> Request<'a> {
    fn of(request: &'a OutputRequest) -> Self {
        match &request.kind {
            Some(Kind::Host(request)) => Self::Host(request),
            Some(Kind::Certificate(request)) => Self::Ask(Ask::Certificate(request)),
            Some(Kind::X509Svid(request)) => Self::Ask(Ask::Svid(request.into())),
            Some(Kind::JwtSvid(request)) => Self::Ask(Ask::Svid(request.into())),
            None => Self::Unknown,
        }
    }

    fn is_svid(&self) -> bool {
        matches!(self, Self::Ask(Ask::Svid(_)))
    }

    fn ask(&self) -> Option<&Ask<'a>> {
        match self {
            Self::Ask(ask) => Some(ask),
            Self::Host(_) | Self::Unknown => None,
        }
    }
}

/// Something that may be released once its event is committed.
pub struct Decided {
    /// The event.
    pub event: NewRecord,
    /// What is released.
    pub answer: Answer,
    /// As it is counted.
    pub counted: Issued,
}

type Outcome = Result<Answer, Problem>;

/// Everything of a call that is committed in one transaction.
struct Together<'a> {
    issuing: Issuing<'a>,
    asked: &'a [&'a Ask<'a>],
}

#[async_trait]
impl Plan for Together<'_> {
    type Made = Vec<Result<Decided, Problem>>;

    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Self::Made), Problem> {
        let issuing = &self.issuing;
        let (bot, mut txn) = issuing.begin(reads).await?;
        let mut all = Vec::with_capacity(self.asked.len());
        for ask in self.asked {
            let decided = match ask {
                Ask::Certificate(request) => issuing.certificate(reads, &bot, request).await,
                Ask::Svid(ask) => svids::issue(issuing, reads, &bot, ask).await,
            };
            if let Ok(decided) = &decided {
                txn = txn.event(decided.event.clone());
            }
            all.push(decided);
        }
        Ok((txn, all))
    }

    fn refuses(made: &Self::Made) -> bool {
        made.iter().any(Result::is_err)
    }
}

impl Issuing<'_> {
    /// Decides about each of `asked`, and commits the events of what may be had in one transaction.
    async fn together(&self, asked: &[&Ask<'_>]) -> Result<Vec<Outcome>, Problem> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let decided = committed(self.core, self.caller, &Together { issuing: *self, asked }).await?;
        Ok(self.released(asked, decided).await)
    }

    /// What is committed is counted, and each refusal is an event of its own.
    async fn released(&self, asked: &[&Ask<'_>], decided: Vec<Result<Decided, Problem>>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(decided.len());
        for (ask, decided) in asked.iter().zip(decided) {
            match (&decided, ask) {
                (Ok(decided), _) => self.core.metrics.issued(decided.counted, 1),
                (Err(problem), Ask::Certificate(_)) => super::refused(self.core, self.caller, problem).await,
                (Err(problem), Ask::Svid(ask)) => svids::refused(self, ask, problem).await,
            }
            outcomes.push(decided.map(|decided| decided.answer));
        }
        outcomes
    }
}
