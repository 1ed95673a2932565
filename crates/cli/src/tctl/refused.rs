//! What is told of a removed bot or instance: that its certificates are refused, until when, and how that is undone.

use api::v1::DeleteBotResponse;
use serde::Serialize;

/// The locks that auth has set with a removal.
#[derive(Debug, Default, Serialize)]
pub(super) struct Refused {
    /// Their names.
    pub locks: Vec<String>,
    /// When the last of them ends.
    pub locked_until: String,
}

impl From<DeleteBotResponse> for Refused {
    fn from(answer: DeleteBotResponse) -> Self {
        let DeleteBotResponse { locks, locked_until } = answer;
        Self { locks, locked_until }
    }
}

impl Refused {
    /// Itself, if there was anything to refuse.
    pub fn known(self) -> Option<Self> {
        (!self.locks.is_empty()).then_some(self)
    }

    /// For people, in lines of their own; `None` if there was nothing to refuse.
    pub fn sentence(&self) -> Option<String> {
        let Self { locks, locked_until } = self;
        let names: Vec<String> = locks.iter().map(|lock| format!("lock/{lock}")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "Its certificates are refused from now on, on every node; the locks for it end on {locked_until}, when the \
                 last certificate has.\nTo let the certificates live until they end: tctl rm {}",
                names.join(",")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Refused;

    #[test]
    fn the_way_back_is_a_command() {
        assert_eq!(Refused::default().sentence(), None);
        let locks = vec!["removed-1".to_owned(), "removed-2".to_owned()];
        let refused = Refused { locks, locked_until: "2026-01-02T10:05:00Z".to_owned() };
        let sentence = refused.sentence().expect("there are locks");
        assert!(sentence.contains("end on 2026-01-02T10:05:00Z"), "{sentence}");
        assert!(sentence.ends_with("until they end: tctl rm lock/removed-1,lock/removed-2"), "{sentence}");
    }
}
