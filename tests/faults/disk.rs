//! Disks that are full, fail or hold what a newer version wrote.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use magpie::v1::Reason;
use magpie_tests::{
    guard::{event_within, guarded, guarded_for},
    history::History,
    node::Setup,
    person::message,
    process::Process,
    refusal,
};
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    process::Signal,
};

use crate::scene::Scene;

const MIB: u64 = 1 << 20;

/// How far above the threshold the disk is before it is filled, and below it afterwards: others may
/// use the same disk meanwhile.
const MARGIN: u64 = 2_048 * MIB;

/// The exit code for a disk that failed, and for data of a newer version.
const IO: i32 = 74;
const DATA: i32 = 65;

/// Any free port.
const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_full_disk_refuses_sends_keeps_reads_and_loses_nothing() {
    guarded_for(Duration::from_secs(60), async {
        // Beside the data directories of the other tests, so on the same disk.
        let folder = tempfile::tempdir().expect("a folder");
        let free_min = free_bytes(folder.path()).saturating_sub(MARGIN);
        assert!(
            free_min > 192 * MIB,
            "the temporary folder's disk has little room"
        );
        let setup = Setup::new().flag("--free-space-min", &format!("{free_min}B"));
        let mut scene = Scene::on(setup).await;
        let history = History::new();
        send(&scene, &history, "before")
            .await
            .expect("there is room");

        let filler = folder.path().join("filler");
        fill(&filler, free_min - MARGIN.min(free_min / 2));
        let begin = Instant::now();
        let refused = send(&scene, &history, "full").await.expect_err("refused");
        assert_eq!(
            refusal::of_status(&refused).reason(),
            Reason::StorageFull,
            "{refused:?}"
        );
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(scene.ann.log(scene.room).await.len(), 3, "reading goes on");
        // A start with slots that cannot be finished.
        scene.node.kill_and_restart().await;
        let ann = scene.ann.over(scene.node.api());
        assert_eq!(ann.log(scene.room).await.len(), 3, "reading goes on");
        scene.ann = ann;
        let refused = send(&scene, &history, "full").await.expect_err("refused");
        assert_eq!(
            refusal::of_status(&refused).reason(),
            Reason::StorageFull,
            "{refused:?}"
        );

        fs::remove_file(&filler).expect("removed");
        event_within(Duration::from_secs(2), "sends are taken again", async {
            while send(&scene, &history, "after").await.is_err() {}
        })
        .await;
        scene.node.kill_and_restart().await;
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
    })
    .await;
}

#[tokio::test]
async fn a_disk_without_any_space_ends_the_node_which_starts_whole_once_it_has_some() {
    guarded_for(Duration::from_secs(60), async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut scene = Scene::new().await;
        let history = History::new();
        send(&scene, &history, "before")
            .await
            .expect("there is room");
        scene.node.kill().await;
        // Somebody else took what was left between the look at the free space and the write. Each
        // thread fails from its own 40th write to the journal on.
        let rows = scene.node.data().join("log/rows");
        let journals = journals(&rows);
        let inject = "inject=write,pwrite64,writev:error=ENOSPC:when=40+";
        let mut options = vec!["-e", "trace=write,pwrite64,writev", "-e", inject];
        for journal in &journals {
            options.extend(["-P", journal.as_str()]);
        }
        let setup = Setup::new().strace(&folder.path().join("trace"), &options);
        scene.node.set_up(setup);
        scene.node.start().await;
        scene.ann = scene.ann.over(scene.node.api());
        let mut granted = 0;
        while send(&scene, &history, "more").await.is_ok() {
            granted += 1;
            assert!(granted < 1_000, "no write failed");
        }
        let status = scene.node.ended_within(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(IO));
        scene.node.set_up(Setup::new());
        scene.node.start().await;
        let log = scene.ann.over(scene.node.api()).log(scene.room).await;
        history.check(scene.room, &log);
    })
    .await;
}

#[tokio::test]
async fn data_of_a_newer_version_is_left_alone_and_said() {
    guarded(async {
        let mut scene = Scene::new().await;
        scene.node.terminate();
        scene.node.ended_within(Duration::from_secs(20)).await;
        let about = scene.node.data().join("log/about");
        let text = fs::read_to_string(&about).expect("it is there");
        let newer = text.replace("format 1", "format 2");
        assert_ne!(newer, text, "the format is told");
        fs::write(&about, newer).expect("written");
        let mut process = Process::spawn(Setup::new().command(scene.node.data(), FREE, FREE));
        let status = process.ended_within(Duration::from_secs(10)).await;
        let said = process.all_output().await.join("\n");
        assert_eq!(status.code(), Some(DATA), "{said}");
        assert!(said.contains("newer"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_still_starts_ends_at_a_signal() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        // A start syncs some fifty times, so that it takes most of a minute.
        let inject = "inject=fdatasync,fsync:delay_enter=1000000";
        let options = ["-e", "trace=fdatasync,fsync,bind", "-e", inject];
        let setup = Setup::new().strace(&trace, &options);
        let mut process = Process::spawn(setup.command(data.path(), FREE, FREE));
        event_within(Duration::from_secs(10), "the node has its ports", async {
            while !fs::read_to_string(&trace).is_ok_and(|trace| trace.matches("bind(").count() > 1)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        process.signal(Signal::TERM);
        let status = process.ended_within(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_log_that_fails_while_the_node_leaves_is_said() {
    guarded(async {
        let folder = tempfile::tempdir().expect("a folder");
        let mut scene = Scene::new().await;
        scene.node.kill().await;
        let inject = "inject=fdatasync,fsync:error=EIO:when=30+";
        let options = ["-e", "trace=fdatasync,fsync", "-e", inject];
        let setup = Setup::new()
            .flag("--drain-window", "20s")
            .strace(&folder.path().join("trace"), &options);
        scene.node.set_up(setup);
        scene.node.start().await;
        let ann = scene.ann.over(scene.node.api());
        // A session that stays keeps the node in its first stage.
        let _session = crate::scene::live(&ann).await;
        scene.node.terminate();
        scene.ann = ann;
        let history = History::new();
        let mut granted = 0;
        while send(&scene, &history, "more").await.is_ok() {
            granted += 1;
            assert!(granted < 1_000, "no sync failed");
        }
        let status = scene.node.ended_within(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(IO));
    })
    .await;
}

async fn send(scene: &Scene, history: &History, text: &str) -> Result<i64, tonic::Status> {
    let request = message(scene.room, text);
    let key = history.started("ann", &request);
    let answer = scene.ann.send_request(request).await?;
    history.answered(key, answer.seq);
    Ok(answer.seq)
}

/// What is free on a folder's disk, as the node is told it.
fn free_bytes(folder: &Path) -> u64 {
    let disk = statvfs(folder).expect("a disk tells its space");
    disk.f_bavail * disk.f_frsize
}

/// Makes a file that leaves so many bytes free.
fn fill(path: &Path, leave: u64) {
    let file = File::create(path).expect("made");
    let folder = path.parent().expect("a file lies in a folder");
    let length = free_bytes(folder).saturating_sub(leave);
    fallocate(&file, FallocateFlags::empty(), 0, length).expect("the disk gives the space");
}

/// The journals of a store, and those that come next.
fn journals(rows: &Path) -> Vec<String> {
    let path = |number: usize| rows.join(format!("{number}.jnl")).display().to_string();
    (0..8).map(path).collect()
}
