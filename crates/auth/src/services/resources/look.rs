//! Getting and listing. What follows from bots is shown among what is stored; what the caller may not see is not.

use super::{Resources, parse_kind, render, rules};
use crate::caller::Caller;
use crate::catalog::layout;
use crate::refusal;
use crate::services::rights::{Rights, Sight};
use crate::services::shelf::spoken;
use access::rbac::Verb;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::resource::{AuthPreference, Kind, Metadata, NetworkingConfig, RecordingConfig, Resource};
use api::status::Problem;
use api::v1::{GetRequest, ListRequest, ListResponse};
use store::{Key, Range};

/// A page unless the caller says otherwise, and the largest.
const PAGE: (usize, usize) = (200, 1000);
/// A page ends early when it has this many bytes.
const PAGE_BYTES: usize = 1024 * 1024;

/// A setting that nobody has stored.
pub(super) fn default(kind: Kind) -> Option<Resource> {
    let metadata = Metadata { name: kind.single_name()?.to_owned(), ..Metadata::default() };
    match kind {
        Kind::ClusterAuthPreference => {
            Some(Resource::AuthPreference(AuthPreference { metadata, spec: AuthPreferenceSpec::default() }))
        }
        Kind::ClusterNetworkingConfig => {
            Some(Resource::NetworkingConfig(NetworkingConfig { metadata, spec: NetworkingSpec::default() }))
        }
        Kind::SessionRecordingConfig => {
            Some(Resource::RecordingConfig(RecordingConfig { metadata, spec: RecordingSpec::default() }))
        }
        _ => None,
    }
}

impl Resources {
    pub(super) async fn look(&self, caller: &Caller, request: &GetRequest) -> Result<String, Problem> {
        let GetRequest { kind, name, with_secrets } = request;
        let kind = parse_kind(kind)?;
        let rights = Rights::of(&self.catalog, caller).await?;
        let Some(resource) = self.find(kind, name).await? else {
            // Whoever may not look learns nothing.
            rights.check(Verb::ReadNoSecrets, kind.as_str())?;
            return Err(refusal::not_found(kind, &spoken(kind, name)));
        };
        let sight = rights.sight(kind.as_str(), resource.metadata())?;
        if *with_secrets && sight == Sight::Masked {
            rights.may(Verb::Read, kind.as_str(), Some(resource.metadata()))?;
        }
        Ok(shown(resource, *with_secrets, sight))
    }

    async fn find(&self, kind: Kind, name: &str) -> Result<Option<Resource>, Problem> {
        if kind == Kind::CertAuthority {
            let named = |resource: &Resource| match resource {
                Resource::CertAuthority(authority) => {
                    let kind = authority.spec.kind.as_str();
                    let full = format!("{kind}/{}", authority.spec.cluster_name);
                    [kind, &full, &authority.metadata.name].contains(&name)
                }
                _ => false,
            };
            return Ok(self.authorities().find(named));
        }
        if let Some(stored) = self.shelf().read(kind, name).await? {
            return Ok(Some(stored));
        }
        match (kind, rules::bot_behind(name)) {
            (Kind::Role | Kind::User, Some(bot)) => match self.shelf().read(Kind::Bot, bot.as_str()).await? {
                Some(Resource::Bot(bot)) => Ok(Some(rules::derived(kind, &bot))),
                _ => Ok(None),
            },
            _ => Ok(default(kind)),
        }
    }

    fn authorities(&self) -> impl Iterator<Item = Resource> {
        self.authorities.resources().into_iter().map(Resource::CertAuthority)
    }

    pub(super) async fn list_page(
        &self,
        caller: &Caller,
        request: &ListRequest,
    ) -> Result<ListResponse, Problem> {
        let kind = parse_kind(&request.kind)?;
        let rights = Rights::of(&self.catalog, caller).await?;
        let size = match request.page_size as usize {
            0 => PAGE.0,
            wanted => wanted.min(PAGE.1),
        };
        let mut page =
            Page { rights: &rights, kind, with_secrets: request.with_secrets, json: vec![], bytes: 0, size };
        let next = match kind {
            Kind::CertAuthority => page.add_all(self.authorities()),
            _ if kind.single_name().is_some() => page.add_all(self.find(kind, "").await?.into_iter()),
            _ => self.fill(&mut page, &request.page_token).await?,
        };
        if page.json.is_empty() && request.page_token.is_empty() {
            // Nothing to see may mean that the caller may not look, and that is to be said.
            rights.check(Verb::List, kind.as_str())?;
            rights.check(Verb::ReadNoSecrets, kind.as_str())?;
        }
        let next_page_token = next.map(|key| key.as_str().to_owned()).unwrap_or_default();
        Ok(ListResponse { json: page.json, next_page_token })
    }

    /// From the stored ones, then from those that follow from bots; gives the last key when the page is full.
    async fn fill(&self, page: &mut Page<'_>, token: &str) -> Result<Option<Key>, Problem> {
        let mut sources = vec![page.kind];
        if matches!(page.kind, Kind::Role | Kind::User) {
            sources.push(Kind::Bot);
        }
        let mut after = match token {
            "" => None,
            token => Some(Key::new(token).map_err(|_| bad_page())?),
        };
        if let Some(key) = &after {
            let at = sources.iter().position(|source| key.is_under(&layout::kind(*source)));
            sources.drain(..at.ok_or_else(bad_page)?);
        }
        for source in sources {
            loop {
                let mut range = Range::under(layout::kind(source)).limit(page.size);
                range.after = after.take();
                let found = self.catalog.range(range).await?;
                for entry in &found.entries {
                    let resource = match self.shelf().open(source, entry)? {
                        Resource::Bot(bot) if page.kind != Kind::Bot => rules::derived(page.kind, &bot),
                        stored => stored,
                    };
                    if page.add(resource) {
                        return Ok(Some(entry.key.clone()));
                    }
                }
                match found.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(None)
    }
}

fn bad_page() -> Problem {
    refusal::invalid("this page token is not from this listing; start again without one")
}

/// What one caller may see of a listing.
struct Page<'a> {
    rights: &'a Rights,
    kind: Kind,
    with_secrets: bool,
    json: Vec<String>,
    bytes: usize,
    size: usize,
}

impl Page<'_> {
    /// Adds it if it may be seen, and says whether the page is full.
    fn add(&mut self, resource: Resource) -> bool {
        let (kind, metadata) = (self.kind.as_str(), resource.metadata());
        if self.rights.may(Verb::List, kind, Some(metadata)).is_ok()
            && let Ok(sight) = self.rights.sight(kind, metadata)
        {
            let json = shown(resource, self.with_secrets, sight);
            self.bytes += json.len();
            self.json.push(json);
        }
        self.json.len() >= self.size || self.bytes >= PAGE_BYTES
    }

    fn add_all(&mut self, resources: impl Iterator<Item = Resource>) -> Option<Key> {
        for resource in resources {
            self.add(resource);
        }
        None
    }
}

fn shown(resource: Resource, with_secrets: bool, sight: Sight) -> String {
    match (with_secrets, sight) {
        (true, Sight::Whole) => render(&resource),
        _ => render(&resource.without_secrets()),
    }
}
