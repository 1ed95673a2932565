//! What is done about each request. Nothing that the node says is believed where it can be seen here.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use exec::SessionRequest;
use jiff::Timestamp;
use ssh::ExchangeRecord;
use ssh::algorithms::KeyExchange;
use ssh::server::Claim;

use super::Fatal;
use super::desk::{canonical, denied};
use super::keeper::Keeper;
use super::peer::{Peer, node_user};
use super::service::Service;
use super::sessions::Whose;
use crate::decision::{Allowed, View};
use crate::post::Message;
use crate::protocol::{AdmissionId, Answer, Ask, Denied, Request, Start};

impl Service {
    /// Does it; gives what there is to answer at once.
    pub(super) fn take(&mut self, message: Message) -> Result<Option<Answer>, Fatal> {
        let Message { bytes, descriptors, is_cut } = message;
        if is_cut {
            return Ok(Request::not_taken(&bytes)?);
        }
        let answer = match Request::decode(&bytes)? {
            Request::Start(_) => return Err(Fatal::Start("it is started once")),
            Request::Trust(bundle) => Answer::Policy(self.keeper.trust_first(&bundle)),
            Request::Policy { payload, signature } => {
                let outcome = self.keeper.take(&payload, &signature);
                if outcome.is_ok() {
                    self.policy_changed();
                }
                Answer::Policy(outcome)
            }
            Request::Sign { ask, key_exchange, is_first, hashed } => {
                Answer::Signed(ask, self.sign(key_exchange, is_first, &hashed))
            }
            Request::Authenticate {
                ask,
                session,
                login,
                algorithm,
                blob,
                is_host_bound,
                signature,
                locks_fresh,
            } => {
                let (login, blob, signature) = (&login, &blob, &signature);
                let claim = Claim { login, algorithm, blob, is_host_bound, signature };
                Answer::Judged(ask, self.judge(&session, &claim, &descriptors, locks_fresh))
            }
            Request::Launch { ask, admission, locks_fresh, request } => {
                match self.launch(ask, admission, locks_fresh, &request, descriptors) {
                    Ok(()) => return Ok(None),
                    Err(denied) => Answer::Launched(ask, Err(denied)),
                }
            }
            told => {
                self.hear(told, &descriptors);
                return Ok(None);
            }
        };
        Ok(Some(answer))
    }

    /// What is not answered.
    fn hear(&mut self, told: Request, descriptors: &[OwnedFd]) {
        match told {
            Request::Labels(labels) => self.keeper.set_labels(labels),
            Request::Forget(session) => self.desk.forget(&session),
            Request::Close(admission) => self.desk.close(admission),
            Request::Signal(session, name) => self.sessions.signal(session, &name),
            Request::Abandon(session) => self.sessions.abandon(session, descriptors.first(), &self.guard),
            Request::Kill(session) => self.sessions.kill(session),
            Request::Release(session) => self.sessions.release(session, &self.guard),
            Request::Start(_)
            | Request::Trust(_)
            | Request::Policy { .. }
            | Request::Sign { .. }
            | Request::Authenticate { .. }
            | Request::Launch { .. } => {}
        }
    }

    fn sign(&mut self, method: KeyExchange, is_first: bool, hashed: &[u8]) -> Result<Vec<u8>, String> {
        let exchange = ExchangeRecord::read(method, is_first, hashed);
        let exchange = exchange.map_err(|_| "what is to be signed is no key exchange")?;
        // Before it is remembered: a session that is open here showed this host's key.
        let signature = self.key.sign(&exchange)?;
        if is_first {
            self.desk.open(&exchange, self.start.login_grace)?;
        }
        Ok(signature)
    }

    fn judge(
        &mut self,
        session: &[u8],
        claim: &Claim<'_>,
        descriptors: &[OwnedFd],
        locks_fresh: bool,
    ) -> Result<AdmissionId, Denied> {
        let peer = connection(descriptors.first())?;
        let view = view(&self.keeper, &self.start, locks_fresh)?;
        self.desk.admit(session, claim, peer, &view)
    }

    fn launch(
        &mut self,
        ask: Ask,
        admission: AdmissionId,
        locks_fresh: bool,
        request: &[u8],
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(), Denied> {
        let admitted = self.desk.admitted(admission);
        let admitted =
            admitted.ok_or_else(|| Denied::new("not_admitted", "nobody was admitted by this name"))?;
        if connection(descriptors.first())? != admitted.peer {
            return Err(Denied::new("other_connection", "this is not the connection of the admission"));
        }
        let theirs = descriptors.split_off(1);
        let request = SessionRequest::decode(request);
        let mut request = request.map_err(|error| Denied::new("bad_request", error.to_string()))?;
        let view = view(&self.keeper, &self.start, locks_fresh)?;
        let now = admitted.admission.again(&view).map_err(denied)?;
        now.in_time(view.now).map_err(denied)?;
        let Start { file_copy, port_forwarding, .. } = self.start;
        now.covers(&request, Allowed { file_copy, port_forwarding }).map_err(denied)?;
        vouch(&mut request.trusted_env, admitted.peer, &view, now.user().name.as_str());
        request.limits = self.limits.clone();
        request.peer = Some(canonical(admitted.peer.remote).ip());
        let login = now.permit().login().as_str();
        request.pam = self.modules.as_ref().map(|modules| modules.ask(now.user(), login));
        request.user_env = self.start.user_env;
        // What the node has not opened itself is not handed over.
        request.opened_by =
            node_user().ok_or_else(|| Denied::new("node_error", "it cannot be found out who the node is"))?;
        let whose = Whose { admission: Rc::clone(&admitted.admission), peer: admitted.peer };
        self.sessions.begin(ask, &self.start.session_exec, &request, &theirs, whose, &self.guard)
    }
}

fn connection(descriptor: Option<&OwnedFd>) -> Result<Peer, Denied> {
    let gone = || Denied::new("no_connection", "the client's connection is not open");
    descriptor.and_then(Peer::of).ok_or_else(gone)
}

/// What is decided by at this moment.
pub(super) fn view<'a>(keeper: &'a Keeper, start: &Start, locks_fresh: bool) -> Result<View<'a>, Denied> {
    let policy =
        keeper.policy().ok_or_else(|| Denied::new("no_policy", "there is no policy to decide by"))?;
    Ok(View { policy, labels: keeper.labels(), host: start.host, now: Timestamp::now(), locks_fresh })
}

/// Variables that say who and from where are not left to the node.
fn vouch(variables: &mut [(String, String)], peer: Peer, view: &View<'_>, user: &str) {
    let (from, to) = (canonical(peer.remote), canonical(peer.local));
    for (name, value) in variables {
        *value = match name.as_str() {
            "SSH_CLIENT" => format!("{} {} {}", from.ip(), from.port(), to.port()),
            "SSH_CONNECTION" => format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port()),
            "SSH_TELEPORT_USER" => user.to_owned(),
            "SSH_TELEPORT_HOST_UUID" => view.host.to_string(),
            "SSH_TELEPORT_CLUSTER_NAME" => view.policy.cluster.to_string(),
            _ => continue,
        };
    }
}
