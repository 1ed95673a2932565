//! What a joiner hears when it is refused, and what only the log and the audit events tell.

use api::status::{Class, Problem};
use api::v1::JoinCheck;
use join::AttemptId;

/// A refusal, and the reason for it.
pub struct Refused {
    /// What the joiner hears.
    pub problem: Box<Problem>,
    /// The reason that only the log and the audit events tell.
    pub why: String,
    /// Whether the joiner had shown a token that there is, or a key that is bound. Without one it is anybody, and
    /// anybody must not fill the audit log.
    pub proved: bool,
    /// Whether it is not judged again by what is known meanwhile: something was done about it, or nothing of it was from memory.
    pub settled: bool,
    /// Whether it is charged to where it came from although it may pass by itself.
    pub charged: bool,
    /// What was looked at, for administrators.
    pub checks: Vec<JoinCheck>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            why: problem.reason.clone(),
            problem: Box::new(problem),
            proved: true,
            settled: false,
            charged: false,
            checks: vec![],
        }
    }
}

impl Refused {
    /// Whatever is wrong with a token whose name is the secret, the joiner hears this.
    pub fn token(attempt: AttemptId, why: impl Into<String>) -> Self {
        let problem = Problem::new(Class::Denied, "token_invalid", "the token is not valid")
            .hint(format!(
                "ask for a new one: tctl tokens add, or tctl bots instances add; an administrator sees why with: tctl \
                 join explain {}",
                attempt.short()
            ));
        Self { why: why.into(), ..Self::from(problem) }
    }

    /// Whatever is wrong with a proof of another method, or with the token that it is for, the joiner hears this.
    pub fn proof(attempt: AttemptId, why: impl Into<String>) -> Self {
        let reason = "the cluster does not let this joiner in with this token";
        let problem = Problem::new(Class::Denied, "join_refused", reason)
            .hint(format!("an administrator sees why with: tctl join explain {}", attempt.short()));
        Self { why: why.into(), proved: false, ..Self::from(problem) }
    }

    /// With what was looked at: what is asked of every joiner, then the rules.
    #[must_use]
    pub fn with(mut self, first: JoinCheck, rules: Vec<JoinCheck>) -> Self {
        self.checks.push(first);
        self.checks.extend(rules);
        self
    }

    /// The same of somebody who has caused work outside of this cluster.
    #[must_use]
    pub fn charged(self) -> Self {
        Self { charged: true, ..self }
    }

    /// The same where another look would find nothing else, and would ask others again.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { settled: true, ..self }
    }

    /// The answer to one of two that run on one identity, once it is locked.
    pub fn locked(problem: Problem) -> Self {
        Self { settled: true, ..problem.into() }
    }

    /// The same of somebody who had shown nothing.
    pub fn unproven(refused: impl Into<Self>) -> Self {
        Self { proved: false, ..refused.into() }
    }
}
