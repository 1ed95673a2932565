//! The SSH service.

use std::time::Duration;

use access::{Labels, template::Template};
use yaml::KeyPath;

use super::Check;
use crate::config::{
    LabelCommand, NodeConfig, PamConfig, SSH_PORT,
    file::{Command, Pam, SshService, X11},
};

/// Displays after the first, as with sshd.
const MORE_DISPLAYS: u16 = 1000;
/// Display 0 is port 6000, and ports end at 65535.
const LAST_DISPLAY: u16 = 59_535;
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
        let pam = self.pam(&ssh.pam);
        let x11 = self.x11(&ssh.x11);
        Some(NodeConfig {
            listen: listen?,
            public,
            labels: Labels(ssh.labels.clone()),
            commands: commands.into_iter().collect::<Option<_>>()?,
            port_forwarding: ssh.port_forwarding,
            file_copy: ssh.ssh_file_copy,
            user_env: ssh.permit_user_env,
            pam: pam?,
            x11: x11?,
        })
    }

    /// The outer `None` is a mistake, the inner one PAM that is off.
    fn pam(&mut self, pam: &Pam) -> Option<Option<PamConfig>> {
        let Pam { enabled, service_name, environment } = pam;
        let plain = node::is_pam_service(service_name);
        let service = plain.then_some(()).ok_or("is not the name of a file in /etc/pam.d; for example sshd");
        let mut fine = self.report.take("ssh_service.pam.service_name", service).is_some();
        for (name, value) in environment {
            let path = KeyPath::from("ssh_service.pam.environment").key(name);
            fine &= self.report.take(path, pam_variable(name, value)).is_some();
        }
        let config = PamConfig { service: service_name.clone(), environment: environment.clone() };
        fine.then(|| enabled.then_some(config))
    }

    /// The first and the last display; none where X11 is not forwarded.
    fn x11(&mut self, x11: &X11) -> Option<Option<(u16, u16)>> {
        let first = x11.display_offset;
        let last = x11.max_display.unwrap_or(first.saturating_add(MORE_DISPLAYS));
        if last < first {
            let text = format!("is less than display_offset, {first}; give the last number, not how many");
            self.report.mistake("ssh_service.x11.max_display", text);
            return None;
        }
        if last > LAST_DISPLAY {
            let key = if x11.max_display.is_some() { "max_display" } else { "display_offset" };
            let text = format!("leads to displays after {LAST_DISPLAY}, which have no port");
            self.report.mistake(format!("ssh_service.x11.{key}").as_str(), text);
            return None;
        }
        Some(x11.enabled.then_some((first, last)))
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

fn pam_variable(name: &str, value: &str) -> Result<(), String> {
    if !node::modules_may_be_told(name, "") {
        return Err(format!(
            "PAM's modules cannot be told a variable {name:?}: loaders, shells or sessions act on it; choose another name"
        ));
    }
    match Template::new(value) {
        Ok(Template::Filled { .. }) if value.contains("internal.") => {
            Err("only external traits can be used here; write {{external.<trait>}}".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn label_key(key: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "/._:*-".contains(c);
    match !key.is_empty() && key.chars().all(legal) {
        true => Ok(()),
        false => Err(format!("invalid label key {key:?}; letters, digits and /._:*- are allowed")),
    }
}
