//! `rsync` over the node's `ssh`, which needs the program on the host too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::site::{Site, contents, hash, shape};

async fn rsync(site: &Site, args: &[&str]) {
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "-e", &site.ssh()]).args(args).current_dir(site.here(""));
    site.must(rsync).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_with_links_and_sparse_files() {
    if testkit::programs::theirs("rsync").is_none() {
        return;
    }
    let site = Site::new().await;
    let (large, tree) = (site.large("large"), site.tree_with_link("tree"));
    rsync(&site, &["tree/", &site.remote("tree")]).await;
    rsync(&site, &[&format!("{}/", site.remote("tree")), "tree-back"]).await;
    for copy in [site.there("tree"), site.here("tree-back")] {
        assert_eq!(contents(&copy), contents(&tree));
        assert_eq!(shape(&copy), shape(&tree));
    }
    rsync(&site, &["--sparse", "large", &site.remote("large")]).await;
    rsync(&site, &["--sparse", &site.remote("large"), "back"]).await;
    for copy in [site.there("large"), site.here("back")] {
        assert_eq!(hash(&copy), hash(&large));
        let file = fs::metadata(&copy).expect("there");
        assert!(file.blocks() * 512 < file.len() / 2, "the hole was filled");
    }
    // Again, after a change: only that is sent.
    fs::write(tree.join("d0/file 3"), "changed").expect("own file");
    fs::remove_file(tree.join("d0/file 4")).expect("own file");
    rsync(&site, &["--delete", "--checksum", "tree/", &site.remote("tree")]).await;
    assert_eq!(contents(&site.there("tree")), contents(&tree));
}
