//! `tbot spiffe-inspect`: what a SPIFFE Workload API gives to whoever runs this.

use crate::config::workloads::socket_path;
use crate::program::Global;
use api::spiffe::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use api::spiffe::{X509svid, X509svidRequest};
use clap::Args;
use identity::svid::valid_before;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use transport::rpc::{connect_admin, within};

const ANSWER: Duration = Duration::from_secs(10);

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
    let path = socket_path(&flags.path)?;
    let svids = crate::program::runtime()?.block_on(async {
        let mut request = within(ANSWER, X509svidRequest {});
        request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
        let failed =
            |status: tonic::Status| format!("{} gives nothing: {}", path.display(), status.message());
        let mut client = SpiffeWorkloadApiClient::new(connect_admin(&path));
        let mut answer = client.fetch_x509svid(request).await.map_err(failed)?.into_inner();
        let first = answer.message().await.map_err(failed)?;
        first.map(|first| first.svids).ok_or_else(|| format!("{} gives nothing", path.display()))
    })?;
    crate::console::print(&svids.iter().map(told).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
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
