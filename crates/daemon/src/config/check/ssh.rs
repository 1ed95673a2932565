//! The SSH service.

use std::time::Duration;

use access::Labels;
use yaml::KeyPath;

use super::Check;
use crate::config::{
    LabelCommand, NodeConfig, SSH_PORT,
    file::{Command, SshService},
};

/// Commands run at most this often.
const LEAST_PERIOD: Duration = Duration::from_secs(1);

impl Check<'_, '_> {
    pub(super) fn ssh(&mut self, ssh: &SshService) -> Option<NodeConfig> {
        let listen = self.listen("ssh_service.listen_addr", &ssh.listen_addr, SSH_PORT);
        let public = self.public("ssh_service.public_addr", &ssh.public_addr, listen);
        for key in ssh.labels.keys() {
            self.report.take(KeyPath::from("ssh_service.labels").key(key), label_key(key));
        }
        let commands: Vec<Option<LabelCommand>> =
            ssh.commands.iter().enumerate().map(|(nth, command)| self.command(nth, command)).collect();
        Some(NodeConfig {
            listen: listen?,
            public,
            labels: Labels(ssh.labels.clone()),
            commands: commands.into_iter().collect::<Option<_>>()?,
            port_forwarding: ssh.port_forwarding,
            file_copy: ssh.ssh_file_copy,
        })
    }

    fn command(&mut self, nth: usize, command: &Command) -> Option<LabelCommand> {
        let path = |key: &str| format!("ssh_service.commands[{nth}].{key}");
        self.report.take(path("name").as_str(), label_key(&command.name));
        if command.command.first().is_none_or(String::is_empty) {
            self.report.mistake(path("command").as_str(), "is empty; write the program and its arguments");
        }
        let mut period = self.duration(&path("period"), &command.period)?;
        if period < LEAST_PERIOD {
            self.warnings.push(format!("{} is raised to 1s", path("period")));
            period = LEAST_PERIOD;
        }
        Some(LabelCommand { name: command.name.clone(), argv: command.command.clone(), period })
    }
}

fn label_key(key: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "/._:*-".contains(c);
    match !key.is_empty() && key.chars().all(legal) {
        true => Ok(()),
        false => Err(format!("invalid label key {key:?}; letters, digits and /._:*- are allowed")),
    }
}
