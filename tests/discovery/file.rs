//! A file as a source, on a real file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use fluster::FlusterCluster;
use fluster::discovery::{self, Discovery, DiscoveryErrorKind, File};

use super::registry::{Registry, nodes_follow_the_registry_and_survive_it};
use crate::support::{Server, eventually, new_dir};
use crate::workload::SOON;

/// A file of which every change is another rename over it.
struct Listed {
    dir: PathBuf,
    nodes: Mutex<BTreeMap<String, String>>,
}

impl Listed {
    fn path(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    fn write(&self) {
        let nodes = self.nodes.lock().unwrap();
        let lines = nodes.iter().map(|(id, url)| format!("{url} name={id}\n"));
        replace(&self.path(), &lines.collect::<String>());
    }
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

impl Registry for Listed {
    fn source(&self) -> Box<dyn Discovery> {
        Box::new(File::new(self.path()))
    }

    fn register(&self, id: &str, server: &Server) {
        self.nodes.lock().unwrap().insert(id.into(), server.url());
        self.write();
    }

    fn deregister(&self, id: &str) {
        self.nodes.lock().unwrap().remove(id);
        self.write();
    }

    fn kill(&self) {
        fs::remove_file(self.path()).unwrap();
        self.nodes.lock().unwrap().clear();
    }

    fn restart(&self) {
        self.write();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_a_file_and_survive_its_removal() {
    let listed = Listed {
        dir: new_dir("f"),
        nodes: Mutex::default(),
    };
    nodes_follow_the_registry_and_survive_it("file", &listed).await;
}

fn names(cluster: &FlusterCluster) -> Vec<String> {
    let status = cluster.status();
    status.nodes.iter().map(|n| n.name.to_string()).collect()
}

#[tokio::test]
async fn the_swaps_of_a_config_map_and_writes_in_place_are_seen() {
    let dir = new_dir("f");
    // As the kubelet lays it out: nodes -> ..data/nodes, ..data -> ..1.
    let publish = |version: &str, text: &str| {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("nodes"), text).unwrap();
        symlink(version, dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    publish("..1", "h1\nh2\nh3\n");
    symlink("..data/nodes", dir.join("nodes")).unwrap();
    let cluster = FlusterCluster::from_urls(["redis://h0"]).unwrap();
    let following = cluster.follow(File::new(dir.join("nodes"))).unwrap();
    following.ready().await;
    assert_eq!(names(&cluster), ["h1:6379", "h2:6379", "h3:6379"]);
    publish("..2", "h1\nh2\nh3\nh4\n");
    fs::remove_dir_all(dir.join("..1")).unwrap();
    eventually(SOON, || names(&cluster).len() == 4).await;
    // In place, with the same length and the same time of change.
    let path = dir.join("..2").join("nodes");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "h1\nh2\nh3\nh5\n").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    eventually(SOON, || names(&cluster).contains(&"h5:6379".into())).await;
    // Garbage, nothing, a directory: the nodes stay.
    for garbage in [
        &b"h1\nh2 weight=x\n"[..],
        b"",
        b"\xff\xfe\0",
        b"{\"nodes\": [",
    ] {
        fs::write(&path, garbage).unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(names(&cluster).len(), 4, "{garbage:?}");
    }
    eventually(SOON, || {
        let error = following.last_error();
        error.is_some_and(|e| {
            e.kind() == DiscoveryErrorKind::Invalid && e.to_string().contains("line 1")
        })
    })
    .await;
}

#[tokio::test]
async fn what_is_no_list_is_named_and_nothing_hangs() {
    let dir = new_dir("f");
    let pipe = dir.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|s| s.success()), "mkfifo");
    fs::write(dir.join("huge"), vec![b'#'; 5 << 20]).unwrap();
    fs::write(dir.join("bad"), "redis://:hunter2@h:x\n").unwrap();
    fs::write(dir.join("empty"), "# nobody yet\n").unwrap();
    for (name, kind, needle) in [
        ("missing", DiscoveryErrorKind::Unreachable, "no such file"),
        ("pipe", DiscoveryErrorKind::Unreachable, "no regular file"),
        (".", DiscoveryErrorKind::Unreachable, "no regular file"),
        ("huge", DiscoveryErrorKind::Unreachable, "more than"),
        ("bad", DiscoveryErrorKind::Invalid, "line 1"),
        ("empty", DiscoveryErrorKind::NotFound, "no endpoint"),
    ] {
        let mut source = File::new(dir.join(name));
        let error = discovery::once(&mut source, SOON).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(needle) && text.contains("file:"), "{text}");
        assert!(!text.contains('\n') && !text.contains("hunter2"), "{text}");
    }
}

#[cfg(feature = "serde")]
#[tokio::test]
async fn a_configuration_file_is_a_function_away() {
    use fluster::Node;
    use fluster::discovery::Endpoint;
    let dir = new_dir("f");
    let path = dir.join("cluster.toml");
    fs::write(
        &path,
        "nodes = ['redis://h1', { url = 'redis://h2', weight = 3 }]",
    )
    .unwrap();
    let mut source = File::new(&path).parse_with(|text| {
        let config: fluster::Config = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let nodes = config.nodes.into_iter().map(Node::try_from);
        nodes
            .map(|n| n.map(Endpoint::from).map_err(|e| e.to_string()))
            .collect()
    });
    let found = discovery::once(&mut source, SOON).await.unwrap();
    let weights: Vec<_> = found.endpoints().iter().map(|e| e.weight).collect();
    assert_eq!(weights, [1, 3]);
}
