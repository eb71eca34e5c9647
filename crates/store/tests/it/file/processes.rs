//! Several processes on one file, and what becomes of it when they are killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jeton_core::entropy::{SystemEntropy, unit_fraction};
use jeton_core::keep::ports::ConnectionStore as _;

use super::child_processes::FILE;
use super::fixture::{folder, open, row};
use crate::requests::{connect, tokens};

/// A process of this test binary that does what the test `name` does.
fn child(name: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("file::child_processes::{name}"), "--ignored", "--nocapture"])
        .env(FILE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// What a child tells, line by line.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

/// The numbers that stand behind `word` in what a child has told, to its end.
fn told(lines: impl Iterator<Item = String>, word: &str) -> Vec<u64> {
    lines.filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
}

#[tokio::test]
async fn kill_minus_nine_at_any_moment_leaves_a_whole_file_with_every_committed_token_set() {
    let (_folder, path) = folder();
    open(&path).connect(connect("acme", 1)).await.unwrap();
    let mut last = 1;
    for kill in 0..40 {
        let mut writer = child("refreshes_for_ever", &path).spawn().unwrap();
        let mut heard = lines(&mut writer).filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
        // Some die while they open the file, the others in the middle of some later write.
        let seen: Option<u64> = heard.by_ref().take(kill % 4).last();
        tokio::time::sleep(Duration::from_millis(40).mul_f64(unit_fraction(&SystemEntropy))).await;
        writer.kill().unwrap();
        writer.wait().unwrap();
        let committed = heard.last().or(seen).unwrap_or(last);
        let row = row(&open(&path)).await;
        assert!(row.generation.0 >= committed.max(last), "{} after {committed}", row.generation.0);
        let number = u8::try_from(row.generation.0 % 251).unwrap();
        assert_eq!(row.tokens.unwrap().refresh, tokens(number).refresh, "the tokens of that generation");
        last = row.generation.0;
    }
    assert!(last > 40, "the writers wrote: {last}");
}

#[tokio::test]
async fn two_processes_race_for_each_claim_and_one_wins() {
    let (_folder, path) = folder();
    open(&path).connect(connect("acme", 1)).await.unwrap();
    let mut rivals: Vec<Child> = (0..2).map(|_| child("races_for_claims", &path).spawn().unwrap()).collect();
    let mut heard: Vec<_> = rivals.iter_mut().map(lines).collect();
    for lines in &mut heard {
        assert!(lines.any(|line| line == "ready"));
    }
    for rival in &mut rivals {
        rival.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let readers: Vec<_> = rivals
        .into_iter()
        .zip(heard)
        .map(|(mut rival, lines)| {
            std::thread::spawn(move || {
                let won = told(lines, "won");
                assert!(rival.wait().unwrap().success());
                won
            })
        })
        .collect();
    let won: Vec<Vec<u64>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let all: BTreeSet<u64> = won.iter().flatten().copied().collect();
    assert_eq!(all.len(), won.iter().map(Vec::len).sum::<usize>(), "nobody won what another had won");
    assert_eq!(all, (1..=150).collect(), "each generation was won");
    assert!(won.iter().all(|won| !won.is_empty()), "both took part: {} and {}", won[0].len(), won[1].len());
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_file_whole() {
    let (folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let writer = child("writes_to_a_full_disk", &path);
    // No file may grow beyond 64 KiB; the signal that says so is ignored, so that the write fails as on a full disk.
    let mut limited = Command::new("sh");
    limited.arg("-c").arg("trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"").arg(writer.get_program());
    let output = limited.args(writer.get_args()).env(FILE, &path).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("refused"), "{out}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the file and its lock: {left:?}");
}
