//! The clouds of Azure: who signs for the machines of each, and whom auth asks about them. Nobody else is asked.

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Cloud {
    /// As the metadata service calls it.
    pub name: &'static str,
    /// Signers of attested documents are called so, or are below it.
    pub metadata: &'static str,
    /// The host of its Resource Manager.
    pub management: &'static str,
    /// The host where keys for access tokens are found.
    pub login: &'static str,
    /// Issuers of access tokens begin so; a tenant's id and `/` follow.
    pub issuer: &'static str,
}

impl Cloud {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "AzurePublicCloud",
            metadata: "metadata.azure.com",
            management: "management.azure.com",
            login: "login.microsoftonline.com",
            issuer: "https://sts.windows.net/",
        },
        Self {
            name: "AzureUSGovernmentCloud",
            metadata: "metadata.azure.us",
            management: "management.usgovcloudapi.net",
            login: "login.microsoftonline.us",
            issuer: "https://sts.windows.net/",
        },
        Self {
            name: "AzureChinaCloud",
            metadata: "metadata.azure.cn",
            management: "management.chinacloudapi.cn",
            login: "login.partner.microsoftonline.cn",
            issuer: "https://sts.chinacloudapi.cn/",
        },
    ];

    /// The one that is called so.
    pub fn of_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|cloud| cloud.name.eq_ignore_ascii_case(name))
    }

    /// What access tokens for its Resource Manager are for.
    pub fn resource(&self) -> String {
        format!("https://{}/", self.management)
    }

    /// Where its keys are found (OpenID Connect Discovery 1.0), those of all its tenants, and who issues by them as that
    /// document puts it.
    pub fn keys(&self) -> (String, String) {
        (format!("https://{}/common", self.login), format!("{}{{tenantid}}/", self.issuer))
    }
}
