//! OpenSSH's `scp`, over SFTP and with its own old protocol, which needs the program on the host too.

use std::process::Command;

use crate::site::{Site, contents, hash, shape};

async fn scp(site: &Site, protocol: &str, args: &[&str]) {
    let mut scp = Command::new("scp");
    scp.args(["-q", protocol, "-F"]).arg(site.config()).args(args).current_dir(site.here(""));
    site.must(scp).await;
}

async fn there_and_back(protocol: &str) {
    let site = Site::new().await;
    let (large, tree) = (site.large("large"), site.tree("tree"));
    scp(&site, protocol, &["large", &site.remote("large")]).await;
    scp(&site, protocol, &[&site.remote("large"), "back"]).await;
    assert_eq!(hash(&site.there("large")), hash(&large));
    assert_eq!(hash(&site.here("back")), hash(&large));
    scp(&site, protocol, &["-rp", "tree", &site.remote("tree")]).await;
    scp(&site, protocol, &["-rp", &site.remote("tree"), "tree-back"]).await;
    for copy in [site.there("tree"), site.here("tree-back")] {
        assert_eq!(contents(&copy), contents(&tree));
        assert_eq!(shape(&copy), shape(&tree));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_sftp() {
    there_and_back("-s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_old_protocol() {
    there_and_back("-O").await;
}
