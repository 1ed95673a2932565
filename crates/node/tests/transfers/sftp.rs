//! OpenSSH's `sftp`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::site::{Site, contents, hash, shape};
use crate::support::{NODENAME, text};

/// Runs a batch of which every line must work.
async fn batch(site: &Site, lines: &str) -> String {
    fs::write(site.here("batch"), lines).expect("own directory");
    let mut sftp = Command::new("sftp");
    sftp.args(["-q", "-F"]).arg(site.config()).arg("-b").arg(site.here("batch")).arg(NODENAME);
    sftp.current_dir(site.here("")).stderr(Stdio::piped());
    text(&site.must(sftp).await.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_there_and_back_and_resumed() {
    let site = Site::new().await;
    let (large, there) = (site.large("large"), site.there("large"));
    let far = there.display();
    batch(&site, &format!("put large {far}\nget {far} back\n")).await;
    assert_eq!((hash(&there), hash(&site.here("back"))), (hash(&large), hash(&large)));
    // What breaks off goes on where it was.
    let size = fs::metadata(&large).expect("there").len();
    for half in [&there, &site.here("back")] {
        fs::File::options().write(true).open(half).expect("there").set_len(size / 2 + 1).expect("ours");
    }
    batch(&site, &format!("reput large {far}\nreget {far} back\n")).await;
    assert_eq!((hash(&there), hash(&site.here("back"))), (hash(&large), hash(&large)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_there_and_back_with_modes_and_times() {
    let site = Site::new().await;
    let (tree, there, back) = (site.tree("tree"), site.there("tree"), site.here("back"));
    let far = there.display();
    batch(&site, &format!("put -Rp tree {far}\nget -Rp {far} back\n")).await;
    assert_eq!(contents(&there), contents(&tree));
    assert_eq!(contents(&back), contents(&tree));
    assert_eq!(shape(&there), shape(&tree));
    assert_eq!(shape(&back), shape(&tree));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_that_it_can_do() {
    let site = Site::new().await;
    fs::write(site.here("a"), "content").expect("own directory");
    let far = site.there("").display().to_string();
    let said = batch(
        &site,
        &format!(
            "cd {far}\npwd\nmkdir d\nput a d/b\nchmod 640 d/b\nchown 12345 d/b\nchgrp 54321 d/b\nls -l d\nln d/b d/hard\n\
             ln -s b d/soft\nrename d/b d/c\ncp d/c d/copied\ndf .\ndf -hi .\nls -la d\nls -1 d/*opi*\nmkdir e\nrmdir e\n\
             rm d/hard\n"
        ),
    )
    .await;
    assert!(said.contains("Remote working directory: ") && said.contains("%Capacity"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("-rw-r-----") && line.contains("12345")), "{said}");
    let file = fs::metadata(site.there("d/c")).expect("there");
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o640, 12345, 54321, 1));
    assert_eq!(fs::read_to_string(site.there("d/copied")).expect("there"), "content");
    assert_eq!(fs::read_link(site.there("d/soft")).expect("a link").to_str(), Some("b"));
    assert!(!site.there("d/b").exists() && !site.there("e").exists() && !site.there("d/hard").exists());
    let copied = site.node.event("sftp_summary", |_| true).await;
    assert_eq!(copied["bytes_written"], 14);
}
