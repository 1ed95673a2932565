//! The section `tpm` of a token.

use crate::resource::Invalid;
use crate::resource::decode::fields::{Fields, Item};
use crate::resource::token::tpm::{Rule, Tpm};

/// A fleet has many machines; more than this are several tokens.
const MOST_RULES: usize = 4096;
const MOST_AUTHORITIES: usize = 64;

pub(super) fn settings(section: Option<Item>) -> Result<Tpm, Invalid> {
    let missing =
        || Invalid::new("spec.tpm", "this join method needs a section of its own, with allow rules");
    let mut fields = Fields::of(section.filter(|section| !section.is_blank()).ok_or_else(missing)?)?;
    let ekcert_allowed_cas = fields.texts("ekcert_allowed_cas")?;
    if ekcert_allowed_cas.len() > MOST_AUTHORITIES {
        return Err(fields.invalid(format!("more than {MOST_AUTHORITIES} ekcert_allowed_cas")));
    }
    let item = fields.required("allow")?;
    let (empty, many) = (
        item.invalid("at least one rule is needed; nobody joins without one"),
        item.invalid(format!("more than {MOST_RULES} rules")),
    );
    let certified = !ekcert_allowed_cas.is_empty();
    let allow: Vec<Rule> =
        item.list()?.into_iter().map(|item| rule(item, certified)).collect::<Result<_, _>>()?;
    fields.finish()?;
    match allow.len() {
        0 => Err(empty),
        count if count > MOST_RULES => Err(many),
        _ => Ok(Tpm { ekcert_allowed_cas, allow }),
    }
}

fn rule(item: Item, certified: bool) -> Result<Rule, Invalid> {
    let none =
        item.invalid("a rule needs ek_public_hash or ek_certificate_serial; tbot tpm identify prints both");
    let mut fields = Fields::of(item)?;
    let text = |item: Option<Item>| item.filter(|item| !item.is_blank()).map(|item| item.text()).transpose();
    let description = text(fields.take("description"))?.unwrap_or_default();
    let ek_public_hash = match fields.take("ek_public_hash").filter(|item| !item.is_blank()) {
        None => None,
        Some(item) => Some(hash(&item)?),
    };
    let ek_certificate_serial = match fields.take("ek_certificate_serial").filter(|item| !item.is_blank()) {
        None => None,
        Some(item) if !certified => {
            let reason =
                "a serial number says something only if its certificate is verified; give ekcert_allowed_cas";
            return Err(item.invalid(reason));
        }
        Some(item) => Some(serial(&item)?),
    };
    fields.finish()?;
    match (&ek_public_hash, &ek_certificate_serial) {
        (None, None) => Err(none),
        _ => Ok(Rule { description, ek_public_hash, ek_certificate_serial }),
    }
}

fn hash(item: &Item) -> Result<String, Invalid> {
    let text = item.text()?.to_ascii_lowercase();
    match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err(item.invalid("64 hexadecimal digits are needed, as tbot tpm identify prints them")),
    }
}

fn serial(item: &Item) -> Result<String, Invalid> {
    let text = item.text()?.to_ascii_lowercase();
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() <= 128 && text.split(':').all(pair) {
        true => Ok(text),
        false => Err(item
            .invalid("pairs of hexadecimal digits with colons are needed, as tbot tpm identify prints them")),
    }
}
