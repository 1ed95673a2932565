//! The table itself: per platform, what a token resource may say and which claim each field of a rule is about.

use super::Claim::{Among, At, PipelinePart, ServiceAccount, Text};
use super::Compare::{AnyCase, Exact, Flag, Glob, GlobIfEnabled, OneOf, OneOfAnyCase, Place};
use super::Form::{Certificates, Host, Url, Word};
use super::{Claim, Compare, Field, Form, Provider, Setting, Table};

const DAY: i64 = 24 * 3600;

pub(super) fn of(provider: Provider) -> &'static Table {
    match provider {
        Provider::Github => &GITHUB,
        Provider::Gitlab => &GITLAB,
        Provider::Circleci => &CIRCLECI,
        Provider::Spacelift => &SPACELIFT,
        Provider::TerraformCloud => &TERRAFORM,
        Provider::Bitbucket => &BITBUCKET,
        Provider::AzureDevops => &AZURE_DEVOPS,
        Provider::Kubernetes => &KUBERNETES,
        Provider::Gcp => &GCP,
        Provider::Iam => &IAM,
        Provider::Azure => &AZURE,
        Provider::Env0 => &ENV0,
    }
}

const fn required(name: &'static str, form: Form) -> Setting {
    Setting { name, required: true, form }
}

const fn optional(name: &'static str, form: Form) -> Setting {
    Setting { name, required: false, form }
}

const fn field(name: &'static str, claim: Claim, compare: Compare) -> Field {
    Field { name, claim, compare }
}

/// A claim that is called as the field is.
const fn same(name: &'static str, compare: Compare) -> Field {
    field(name, Text(name), compare)
}

static GITHUB: Table = Table {
    word: "github",
    joiner: "a job of GitHub Actions",
    settings: &[optional("enterprise_server_host", Host), optional("enterprise_slug", Word)],
    fields: &[
        same("sub", Exact),
        same("repository", Exact),
        same("repository_owner", Exact),
        same("workflow", Exact),
        same("environment", Exact),
        same("actor", Exact),
        same("ref", Exact),
        same("ref_type", Exact),
    ],
    needs: &[&["sub", "repository", "repository_owner"]],
    longest_life: DAY,
};

static GITLAB: Table = Table {
    word: "gitlab",
    joiner: "a job of GitLab CI",
    settings: &[optional("domain", Host)],
    fields: &[
        same("sub", Glob),
        same("project_path", Glob),
        same("namespace_path", Glob),
        same("ci_config_ref_uri", Glob),
        same("ref", Glob),
        same("environment", Glob),
        same("ref_type", Exact),
        same("pipeline_source", Exact),
        same("user_login", Exact),
        same("user_id", Exact),
        same("user_email", Exact),
        same("ci_config_sha", Exact),
        same("deployment_tier", Exact),
        same("project_visibility", Exact),
        same("ref_protected", Flag),
        same("environment_protected", Flag),
    ],
    needs: &[&["sub", "project_path", "namespace_path", "ci_config_ref_uri"]],
    longest_life: DAY,
};

static CIRCLECI: Table = Table {
    word: "circleci",
    joiner: "a job of CircleCI",
    settings: &[required("organization_id", Word)],
    fields: &[
        field("project_id", Text("oidc.circleci.com/project-id"), Exact),
        field("context_id", Among("oidc.circleci.com/context-ids"), Exact),
    ],
    needs: &[&["project_id", "context_id"]],
    longest_life: DAY,
};

static SPACELIFT: Table = Table {
    word: "spacelift",
    joiner: "a run of Spacelift",
    settings: &[required("hostname", Host)],
    fields: &[
        field("space_id", Text("spaceId"), GlobIfEnabled),
        field("caller_id", Text("callerId"), GlobIfEnabled),
        field("caller_type", Text("callerType"), Exact),
        field("scope", Text("scope"), Exact),
    ],
    needs: &[&["space_id", "caller_id"]],
    longest_life: DAY,
};

static TERRAFORM: Table = Table {
    word: "terraform_cloud",
    joiner: "a run of HCP Terraform or Terraform Enterprise",
    settings: &[optional("hostname", Host), optional("audience", Form::Text)],
    fields: &[
        field("organization_id", Text("terraform_organization_id"), Exact),
        field("organization_name", Text("terraform_organization_name"), Exact),
        field("project_id", Text("terraform_project_id"), Exact),
        field("project_name", Text("terraform_project_name"), Exact),
        field("workspace_id", Text("terraform_workspace_id"), Exact),
        field("workspace_name", Text("terraform_workspace_name"), Exact),
        field("run_phase", Text("terraform_run_phase"), Exact),
    ],
    needs: &[
        &["organization_id", "organization_name"],
        &["project_id", "project_name", "workspace_id", "workspace_name"],
    ],
    longest_life: DAY,
};

static BITBUCKET: Table = Table {
    word: "bitbucket",
    joiner: "a step of Bitbucket Pipelines",
    settings: &[required("audience", Form::Text), required("identity_provider_url", Url)],
    fields: &[
        field("workspace_uuid", Text("workspaceUuid"), Exact),
        field("repository_uuid", Text("repositoryUuid"), Exact),
        field("deployment_environment_uuid", Text("deploymentEnvironmentUuid"), Exact),
        field("branch_name", Text("branchName"), Exact),
    ],
    needs: &[&["workspace_uuid", "repository_uuid"]],
    longest_life: DAY,
};

static AZURE_DEVOPS: Table = Table {
    word: "azure_devops",
    joiner: "a job of Azure DevOps",
    settings: &[required("organization_id", Word)],
    fields: &[
        same("sub", Exact),
        field("project_name", PipelinePart(1), Exact),
        field("pipeline_name", PipelinePart(2), Exact),
        field("project_id", Text("prj_id"), Exact),
        field("definition_id", Text("def_id"), Exact),
        field("repository_uri", Text("rpo_uri"), Exact),
        field("repository_version", Text("rpo_ver"), Exact),
        field("repository_ref", Text("rpo_ref"), Exact),
    ],
    needs: &[&["sub", "project_name", "project_id"]],
    longest_life: DAY,
};

static KUBERNETES: Table = Table {
    word: "kubernetes",
    joiner: "a service account of Kubernetes",
    settings: &[optional("audience", Form::Text)],
    fields: &[field("service_account", ServiceAccount, Exact)],
    needs: &[&["service_account"]],
    // Fact sheet, section 4.3.
    longest_life: 30 * 60,
};

static GCP: Table = Table {
    word: "gcp",
    joiner: "a machine of Google Compute Engine",
    settings: &[],
    fields: &[
        field("project_ids", At("/google/compute_engine/project_id"), OneOf),
        field("locations", At("/google/compute_engine/zone"), Place),
        field("service_accounts", Text("email"), OneOf),
    ],
    needs: &[&["project_ids"]],
    longest_life: DAY,
};

static IAM: Table = Table {
    word: "iam",
    joiner: "a principal of AWS IAM",
    settings: &[],
    // As the answer of STS calls them.
    fields: &[
        field("aws_account", Text("Account"), Exact),
        // Every rule has one once it is read.
        field("aws_partition", Text("Partition"), Exact),
        field("aws_arn", Text("Arn"), Glob),
    ],
    needs: &[&["aws_account", "aws_arn"]],
    // There is no ID token.
    longest_life: 0,
};

static AZURE: Table = Table {
    word: "azure",
    joiner: "a machine of Azure",
    settings: &[optional("attestation_cas", Certificates)],
    // As `join::azure` calls them, after what Azure signed and what its Resource Manager says.
    fields: &[same("subscription", AnyCase), field("resource_groups", Text("resource_group"), OneOfAnyCase)],
    needs: &[&["subscription"]],
    // Access tokens of managed identities: a day, and what their issuer dates them back.
    longest_life: DAY + 3600,
};

static ENV0: Table = Table {
    word: "env0",
    joiner: "a deployment of env0",
    settings: &[optional("audience", Form::Text)],
    fields: &[
        field("organization_id", Text("organizationId"), Exact),
        field("project_id", Text("projectId"), Exact),
        field("project_name", Text("projectName"), Exact),
        field("template_id", Text("templateId"), Exact),
        field("template_name", Text("templateName"), Exact),
        field("environment_id", Text("environmentId"), Exact),
        field("environment_name", Text("environmentName"), Exact),
        field("workspace_name", Text("workspaceName"), Exact),
        field("deployment_type", Text("deploymentType"), Exact),
        field("deployer_email", Text("deployerEmail"), Exact),
        field("env0_tag", Text("env0Tag"), Exact),
    ],
    needs: &[&["organization_id"]],
    longest_life: DAY,
};
