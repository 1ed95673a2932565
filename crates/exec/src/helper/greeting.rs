//! Step 7, as the user: what somebody reads who logs in at a terminal, as sshd has it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::login::Last;
use crate::sys::clock::{LocalTime, local_time};

/// With this file in their home, users read nothing (`hushlogin(5)`).
const HUSH: &str = ".hushlogin";
/// The messages of the day: the one that the host makes anew at times, and the administrator's.
const MESSAGES: [&str; 2] = ["/run/motd.dynamic", "/etc/motd"];
/// More of a message is not shown.
const MAX_MESSAGE: u64 = 64 * 1024;
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// What there is to say.
pub(super) struct Greeting {
    /// What PAM's modules want to be read; `None` where they were not asked, and the message of the day is not theirs.
    pub(super) words: Option<String>,
    pub(super) last: Option<Last>,
}

impl Greeting {
    /// Writes it to the terminal, unless the user does not want to read it. Nobody may be left to read: no error.
    pub(super) fn say(&self, home: &str) {
        if Path::new(home).join(HUSH).exists() {
            return;
        }
        let _ = self.write(&mut io::stdout());
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(words) = &self.words {
            out.write_all(words.as_bytes())?;
        }
        if let Some(last) = &self.last {
            out.write_all(last.line().as_bytes())?;
        }
        if self.words.is_none() {
            for message in MESSAGES {
                let Ok(file) = File::open(message) else { continue };
                io::copy(&mut file.take(MAX_MESSAGE), out)?;
            }
        }
        out.flush()
    }
}

impl Last {
    /// As sshd says it, with a carriage return of its own.
    fn line(&self) -> String {
        let Self { time, host } = self;
        let Some(LocalTime { year, month, day, hour, minute, second, weekday }) = local_time(*time) else {
            return String::new();
        };
        let (weekday, month) = (DAYS[weekday], MONTHS[month]);
        let when = format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}");
        match host.as_str() {
            "" => format!("Last login: {when}\r\n"),
            host => format!("Last login: {when} from {host}\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_login_reads_as_sshd_writes_it() {
        // In whatever time zone this runs, the form is the same.
        let line = Last { time: 1_800_000_000, host: "192.0.2.7".into() }.line();
        let mut words = line.split_whitespace();
        assert_eq!((words.next(), words.next()), (Some("Last"), Some("login:")));
        assert!(
            line.ends_with(" 2027 from 192.0.2.7\r\n")
                && line.len() == "Last login: Fri Jan 15 08:00:00 2027 from 192.0.2.7\r\n".len(),
            "{line:?}"
        );
        let line = Last { time: 1_800_000_000, host: String::new() }.line();
        assert!(line.ends_with(" 2027\r\n"), "{line:?}");
    }

    #[test]
    fn modules_have_the_first_word_and_take_the_message_of_the_day_over() {
        let last = Some(Last { time: 1_800_000_000, host: "h".into() });
        let mut said = Vec::new();
        Greeting { words: Some("from a module\n".into()), last }.write(&mut said).expect("written");
        let said = String::from_utf8(said).expect("text");
        assert!(said.starts_with("from a module\nLast login: ") && said.ends_with(" from h\r\n"), "{said:?}");
    }
}
