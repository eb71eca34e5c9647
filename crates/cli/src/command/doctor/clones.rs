//! What the installation is known by, and which copies of it would be noticed.

use std::os::unix::fs::MetadataExt as _;

use jeton_core::keep::ports::{LiveNode, NodeHost};
use jeton_keeper::{Host, HostRecord, Installation};

use super::report::Report;

const CLONES: &str = "clones";

pub(super) fn report(installation: &Installation, host: &Host, record: &HostRecord, report: &mut Report) {
    let file = installation.data_dir().join("instance");
    let which = std::fs::metadata(&file).map_or_else(
        |error| format!("is not there: {error}"),
        |found| format!("is file {} of device {}", found.ino(), found.dev()),
    );
    let text = format!(
        "the instance is {}, and {} {which}: a copy of the files, or of the database, is noticed",
        installation.instance(),
        file.display()
    );
    report.ok(CLONES, text);
    match (&host.machine, &record.machine) {
        (None, _) => report.warning(
            CLONES,
            "this machine has no id of its own (a container, or `bound_to_machine = false`): a disk that is copied to another \
             machine is not noticed by it, and on PostgreSQL by its nodes alone, while both run",
        ),
        (Some(machine), None) => {
            report.ok(CLONES, format!("the machine is {machine}; the first refresh records it"));
        }
        (Some(machine), Some(known)) if machine == known => {
            report.ok(CLONES, format!("the machine is {machine}, as recorded: a disk on another one is noticed"));
        }
        (Some(machine), Some(known)) => {
            report.warning(CLONES, format!("the machine is {machine}, and {known} is recorded"));
        }
    }
    let boot = host.boot.as_deref().unwrap_or("unknown");
    report.ok(
        CLONES,
        format!(
            "this boot is {boot}; the one recorded last is {}",
            record.boot.as_deref().unwrap_or("unknown")
        ),
    );
    match (&record.mark, &record.marked_path, record.marked) {
        (None, ..) => report.warning(
            CLONES,
            "no mark is kept outside the data directory: a disk that is rolled back to a snapshot, or cloned on this machine, is \
             not noticed; set `mark_dir`",
        ),
        (Some(mark), Some(path), Some(marked)) => {
            let text = format!(
                "the mark outside is {}, of {} at change {}: a disk that is rolled back, or cloned on this machine, is noticed",
                mark.display(),
                path.display(),
                marked.0
            );
            report.ok(CLONES, text);
        }
        (Some(mark), ..) => {
            report.ok(CLONES, format!("the mark outside will be {}; the first refresh writes it", mark.display()));
        }
    }
    report.warning(
        CLONES,
        "the clone of a whole machine, with its id and its marks, cannot be noticed: never start jeton on both",
    );
}

/// Where each running node is, as the others know it.
pub(super) fn list_nodes(nodes: &[LiveNode], report: &mut Report) {
    for node in nodes {
        let NodeHost { machine, boot, data_dir, device } = &node.host;
        let known = |what: &Option<String>| what.clone().unwrap_or_else(|| "unknown".to_owned());
        let device = device.map_or_else(|| "unknown".to_owned(), |device| device.to_string());
        let text = format!(
            "the node {} runs on the machine {}, boot {}, with the data directory {} on device {device}",
            node.name,
            known(machine),
            known(boot),
            known(data_dir)
        );
        report.ok(CLONES, text);
    }
}

/// Reports the nodes that live on a clone of this data directory.
pub(super) fn check_nodes(installation: &Installation, nodes: &[LiveNode], report: &mut Report) {
    for node in nodes.iter().filter(|node| installation.node_host().is_clone_of(&node.host)) {
        let text = format!(
            "the node {} has this data directory in another place, as on the clone of a disk; stop one of the two, and run \
             `jeton adopt` where the data directory is to be a node of its own (of a node that died, this passes within 20 s)",
            node.name
        );
        report.fault(CLONES, text);
    }
}
