//! `tbot spiffe-inspect`: what a SPIFFE Workload API gives to whoever runs this.

use crate::config::workloads::socket_path;
use crate::program::Global;
use api::spiffe::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use api::spiffe::{X509svid, X509svidRequest};
use clap::Args;
use identity::svid::valid_before;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use transport::rpc::{connect_admin, within};
use transport::{ConnectError, Problem};

const ANSWER: Duration = Duration::from_secs(10);
const NOT_ONE: &str = "it may be no SPIFFE Workload API: compare --path with `listen` of the service";

/// Flags of `tbot spiffe-inspect`.
#[derive(Debug, Args)]
pub struct InspectFlags {
    /// The socket, unix:///path
    #[arg(long, value_name = "URI")]
    path: String,
}

/// Asks and prints.
pub fn run(global: &Global, flags: &InspectFlags) -> Result<ExitCode, String> {
    global.log_quietly(false);
    let path = socket_path(&flags.path).map_err(|error| format!("--path {error}"))?;
    let asked = crate::program::runtime()?.block_on(async { tokio::time::timeout(ANSWER, ask(&path)).await });
    let silent = |_| format!("{} does not answer within {ANSWER:?}; {NOT_ONE}", path.display());
    let svids = asked.map_err(silent)?.map_err(|status| failed(&path, &status))?;
    crate::console::print(&svids.iter().map(told).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(path: &Path) -> Result<Vec<X509svid>, Status> {
    let mut request = within(ANSWER, X509svidRequest {});
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    let mut client = SpiffeWorkloadApiClient::new(connect_admin(path));
    let mut answer = client.fetch_x509svid(request).await?.into_inner();
    let first = answer.message().await?.ok_or_else(|| Status::unavailable("the answer is empty"))?;
    Ok(first.svids)
}

fn failed(path: &Path, status: &Status) -> String {
    let place = path.display();
    match ConnectError::behind(status).map(ConnectError::problem) {
        Some(Problem::Local(error)) => {
            let step = match error.kind() {
                ErrorKind::PermissionDenied => "run this as a user whom the directories above let through",
                _ => "check --path, and that tbot runs with a service that listens there",
            };
            format!("cannot connect to {place}: {error}; {step}")
        }
        _ if status.code() == Code::PermissionDenied => format!(
            "{place} gives nothing: {}; this process fits no rule of the service (svids[].rules), or there is nothing yet",
            status.message()
        ),
        _ => format!("{place} gives nothing: {}; {NOT_ONE}", status.message()),
    }
}

fn told(svid: &X509svid) -> String {
    let mut text = format!("{}\n", svid.spiffe_id);
    if !svid.hint.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  hint     {}", svid.hint);
    }
    let until = valid_before(&svid.x509_svid.as_slice().into());
    let _ = writeln!(text, "  expires  {}", until.map_or_else(|| "unknown".to_owned(), |at| at.to_string()));
    text
}
