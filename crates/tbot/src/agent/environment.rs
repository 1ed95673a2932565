//! What programs that the agent starts do not find in their environment.

use super::platform;
use crate::config::Method;
use tokio::process::Command;

/// The token, and the way to the agent's service manager.
const OURS: [&str; 4] = ["TELEPORT_BOT_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Takes away what would let the program join in place of the agent, or speak for it. What other methods join with may be
/// there for the program itself, and stays.
pub fn withhold(command: &mut Command, method: &Method) {
    for name in OURS {
        command.env_remove(name);
    }
    for name in platform::variables(method) {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::withhold;
    use crate::config::Method;
    use access::resource::token::Provider;
    use tokio::process::Command;

    #[test]
    fn what_the_method_joins_with_is_taken_away_and_nothing_else() {
        let platform = |provider, variable: Option<&str>| Method::Platform {
            provider,
            variable: variable.map(str::to_owned),
        };
        for (method, expected) in [
            (Method::Token, vec![]),
            (Method::BoundKeypair { registration_secret: None }, vec!["TBOT_REGISTRATION_SECRET"]),
            (platform(Provider::Gitlab, None), vec!["TBOT_GITLAB_JWT"]),
            (platform(Provider::Gitlab, Some("MINE")), vec!["MINE"]),
            (platform(Provider::Circleci, None), vec!["CIRCLE_OIDC_TOKEN"]),
            (platform(Provider::Spacelift, None), vec!["SPACELIFT_OIDC_TOKEN"]),
            (platform(Provider::TerraformCloud, None), vec!["TFC_WORKLOAD_IDENTITY_TOKEN"]),
            (
                platform(Provider::TerraformCloud, Some("TFC_WORKLOAD_IDENTITY_TOKEN_X")),
                vec!["TFC_WORKLOAD_IDENTITY_TOKEN_X"],
            ),
            (platform(Provider::Bitbucket, None), vec!["BITBUCKET_STEP_OIDC_TOKEN"]),
            (
                platform(Provider::Github, None),
                vec!["ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"],
            ),
            (platform(Provider::AzureDevops, None), vec!["SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI"]),
            (platform(Provider::Kubernetes, None), vec![]),
            (platform(Provider::Gcp, None), vec![]),
            (platform(Provider::Iam, None), vec![]),
            (platform(Provider::Env0, None), vec!["ENV0_OIDC_TOKEN"]),
            (Method::Azure { client_id: None }, vec![]),
        ] {
            let mut command = Command::new("true");
            withhold(&mut command, &method);
            let mut withheld: Vec<_> = command
                .as_std()
                .get_envs()
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| name.to_string_lossy().into_owned())
                .collect();
            let mut expected = expected;
            expected.extend(super::OURS);
            expected.sort_unstable();
            withheld.sort_unstable();
            assert_eq!(withheld, expected, "{method:?}");
        }
    }
}
