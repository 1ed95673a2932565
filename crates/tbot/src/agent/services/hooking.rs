//! What is done after renewals. Hooks run beside the agent, the outputs one after another, so that nothing that is heard from the
//! cluster waits for them.

use super::Agent;
use crate::agent::heartbeat;
use crate::agent::hooks::{self, Hooks, Ran};
use std::collections::VecDeque;
use tokio::task::JoinSet;

/// The hooks of an agent.
#[derive(Default)]
pub(super) struct Hooking {
    /// The outputs whose hooks are to run, each of them once: they find what was written last.
    waiting: VecDeque<String>,
    /// Those of one output at most. They end with this value.
    running: JoinSet<(String, Vec<Ran>)>,
    /// What came of hooks, and was not told yet.
    ran: Vec<Ran>,
    /// Some of it was not even tried to be told.
    is_news: bool,
}

impl Hooking {
    fn ask(&mut self, output: &str) {
        if !self.waiting.iter().any(|waiting| waiting == output) {
            self.waiting.push_back(output.to_owned());
        }
    }
}

impl Agent {
    /// What is to be done after a renewal; it fails nothing.
    pub(super) fn after(&mut self, at: usize) {
        let output = &self.config.outputs[at];
        if output.on_renew.is_empty() {
            let name = output.name.clone();
            return self.hooked(&name, Vec::new());
        }
        self.hooking.ask(&output.name);
        self.run_hooks();
    }

    /// Begins with the next ones, unless some run.
    fn run_hooks(&mut self) {
        while self.hooking.running.is_empty()
            && let Some(name) = self.hooking.waiting.pop_front()
        {
            // Another configuration may have no such output.
            let output = self.config.outputs.iter().find(|output| output.name == name);
            if let Some(output) = output {
                let hooks = Hooks::of(output, &self.config.onboarding.method);
                self.hooking.running.spawn(async move { (name, hooks.run().await) });
            }
        }
    }

    /// Waits until the hooks of an output have ended; for ever when none run. Nothing is lost when this is given up.
    pub async fn hooks_ended(&mut self) {
        match self.hooking.running.join_next().await {
            Some(Ok((name, ran))) => self.hooked(&name, ran),
            Some(Err(error)) => tracing::error!(%error, "hooks did not end as they should"),
            None => std::future::pending().await,
        }
        self.hooking.is_news = true;
        self.run_hooks();
    }

    /// Waits until no hook runs any more.
    pub(super) async fn all_hooks_ended(&mut self) {
        while !self.hooking.running.is_empty() {
            self.hooks_ended().await;
        }
    }

    fn hooked(&mut self, name: &str, ran: Vec<Ran>) {
        let outcome = hooks::outcome(&ran);
        let outcome = match self.unheard.get(name) {
            Some(trouble) if outcome.is_ok() => Err(trouble.clone()),
            _ => outcome,
        };
        if let Err(fault) = &outcome {
            tracing::error!(service = name, error = fault, "the credentials are written, but a hook failed");
        }
        self.health.hooked(name, outcome);
        self.hooking.ran.extend(ran);
        let surplus = self.hooking.ran.len().saturating_sub(heartbeat::MOST);
        self.hooking.ran.drain(..surplus);
    }

    /// Tells of hooks that have ended since this was asked last.
    pub async fn tell_of_ended_hooks(&mut self) {
        if !std::mem::take(&mut self.hooking.is_news) {
            return;
        }
        self.tell_of_hooks().await;
        self.rest();
        self.report();
    }

    /// Tells the cluster what came of hooks. What cannot be told is told with the next round, unless there is too much of it.
    pub(super) async fn tell_of_hooks(&mut self) {
        let ran = &mut self.hooking.ran;
        let Some(member) = self.member.as_ref().filter(|_| !ran.is_empty()) else { return };
        match heartbeat::send_hooks(member, ran).await {
            Ok(()) => ran.clear(),
            // An auth service that is older than this agent wants to know nothing of it.
            Err(error) if !error.may_pass() => {
                tracing::debug!(%error, "results of hooks are not in the audit log");
                ran.clear();
            }
            Err(error) => tracing::warn!(%error, "results of hooks are not in the audit log yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Agent;
    use crate::config::{StartFlags, load};
    use crate::health::Health;

    /// Two outputs; the hook of each writes a line where the test looks.
    fn agent(scratch: &std::path::Path, health: &Health) -> Agent {
        let output = |name: &str| {
            format!(
                "- {{type: identity, name: {name}, destination: {0}/{name}, on_renew: [{{exec: [/bin/sh, -c, \"echo $TBOT_OUTPUT >> \
                 {0}/told; sleep 0.2\"]}}, {{exec: [/bin/false]}}]}}\n",
                scratch.display()
            )
        };
        let text = format!(
            "version: v2\nproxy_server: p:1\nonboarding: {{token: x}}\nstorage: {}/s\noutputs:\n{}{}",
            scratch.display(),
            output("one"),
            output("two")
        );
        let (config, _) = load("tbot.yaml", &text, &StartFlags::default()).expect("read");
        Agent::open(config, health.clone()).expect("opens")
    }

    #[tokio::test]
    async fn hooks_keep_nobody_waiting_and_run_once_for_what_was_written_meanwhile() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let health = Health::default();
        let mut agent = agent(scratch.path(), &health);
        let problem = |name: &str| {
            let services = health.services();
            services.into_iter().find(|service| service.name == name).and_then(|service| service.hook_problem)
        };
        // None of this waits: nothing has run before the first await.
        for _ in 0..3 {
            agent.after(0);
            agent.after(1);
        }
        assert!(!scratch.path().join("told").exists() && problem("one").is_none());
        agent.all_hooks_ended().await;
        let told = std::fs::read_to_string(scratch.path().join("told")).expect("they ran");
        assert_eq!(told, "one\ntwo\none\n", "one at a time, and once for all that was written meanwhile");
        assert!(problem("one").is_some_and(|told| told.contains("on_renew[1]")));
        assert!(problem("two").is_some() && agent.hooking.ran.len() == 6);
    }
}
