//! TPMs of software (swtpm), with endorsement certificates by a maker.

use crate::programs::{command, theirs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// A maker of TPMs, with an authority of its own.
pub struct TpmMaker {
    directory: TempDir,
}

/// A running TPM; ended when dropped.
pub struct SoftTpm {
    child: Child,
    directory: TempDir,
}

impl TpmMaker {
    /// None where swtpm is not installed, which is said.
    pub fn new() -> Option<Self> {
        theirs("swtpm")?;
        theirs("swtpm_setup")?;
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path();
        let write = |name: &str, text: String| std::fs::write(path.join(name), text).expect("written");
        let ca = path.display();
        write(
            "localca.conf",
            format!(
                "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
                 certserial = {ca}/certserial\n"
            ),
        );
        let options = "--platform-manufacturer postern\n--platform-version 1\n--platform-model test\n";
        write("localca.options", options.to_owned());
        write(
            "setup.conf",
            format!(
                "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {ca}/localca.conf\n\
                 create_certs_tool_options = {ca}/localca.options\n"
            ),
        );
        Some(Self { directory })
    }

    /// The authority that issues the certificates, PEM; there is one once a TPM was made.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("issuercert.pem")).expect("a TPM was made")
    }

    /// A new TPM.
    pub fn make(&self) -> SoftTpm {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let made = command("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate"])
            .arg(directory.path())
            .arg("--config")
            .arg(self.directory.path().join("setup.conf"))
            .output()
            .expect("swtpm_setup runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let child = command("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", directory.path().display()))
            .args(["--server", &format!("type=unixio,path={}", socket(directory.path()).display())])
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm runs");
        let tpm = SoftTpm { child, directory };
        crate::until("swtpm to listen", || tpm.socket().exists().then_some(()));
        tpm
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

impl SoftTpm {
    /// Lets every user of this machine use it, as an administrator lets the daemon's.
    pub fn share(&self) {
        for (path, mode) in [(self.directory.path().to_owned(), 0o711), (self.socket(), 0o666)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
