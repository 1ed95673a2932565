//! Method `tpm`: the joiner runs on a machine with a certain TPM 2.0 (fact sheet, section 4.2).

use serde::Serialize;

/// Settings of the method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tpm {
    /// Whose certificates of endorsement keys count, in PEM; empty where none is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ekcert_allowed_cas: Vec<String>,
    /// Any one of them lets the joiner in; all of its fields must fit. Never empty.
    pub allow: Vec<Rule>,
}

/// One machine. At least one of the two that can fit is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo in lower-case hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ek_public_hash: Option<String>,
    /// Serial number of its certificate: pairs of lower-case hexadecimal digits with colons between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ek_certificate_serial: Option<String>,
}
