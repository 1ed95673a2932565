//! `lftp`, which keeps many requests under way.

use std::fs;
use std::process::Command;

use crate::site::{Site, contents, hash};
use crate::support::{NODENAME, login};

async fn lftp(site: &Site, lines: &str) {
    let script = format!(
        "set sftp:connect-program \"{} -a -x\"\nset cmd:fail-exit yes\nset net:max-retries 1\n\
         set xfer:clobber yes\nopen sftp://{}:@{NODENAME}{}\n{lines}\nquit\n",
        site.ssh(),
        login(),
        site.there("").display(),
    );
    fs::write(site.here("script"), script).expect("own directory");
    let mut lftp = Command::new("lftp");
    lftp.arg("--norc").arg("-f").arg(site.here("script")).current_dir(site.here(""));
    // Its own settings and history stay out of this.
    lftp.env("HOME", site.here("home"));
    site.must(lftp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_and_resumes() {
    if testkit::programs::theirs("lftp").is_none() {
        return;
    }
    let site = Site::new().await;
    fs::create_dir(site.here("home")).expect("own directory");
    let (large, tree) = (site.large("large"), site.tree("tree"));
    lftp(&site, "put large -o large\nget large -o back").await;
    assert_eq!(hash(&site.there("large")), hash(&large));
    assert_eq!(hash(&site.here("back")), hash(&large));
    let size = fs::metadata(&large).expect("there").len();
    for half in [site.there("large"), site.here("back")] {
        fs::File::options().write(true).open(half).expect("there").set_len(size / 2 + 1).expect("ours");
    }
    lftp(&site, "put -c large -o large\nget -c large -o back").await;
    assert_eq!(hash(&site.there("large")), hash(&large));
    assert_eq!(hash(&site.here("back")), hash(&large));
    lftp(&site, "mirror -R tree tree\nmirror --parallel=4 tree tree-back\nls -l tree").await;
    assert_eq!(contents(&site.there("tree")), contents(&tree));
    assert_eq!(contents(&site.here("tree-back")), contents(&tree));
    lftp(&site, "mv tree moved\nchmod 600 large\nln -s large soft\nrm -r moved").await;
    assert!(!site.there("moved").exists() && site.there("soft").exists());
}
