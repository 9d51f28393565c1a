//! Saves that did not come to their end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use recis::framework::checkpoint::{latest, load, save};

use super::snapshot;

/// What is in `dir` after the next save, which must not leave anything of the one before.
fn assert_next_save_tidies(dir: &Path) {
    let path = save(dir, &snapshot(9), 1, 4).unwrap();
    assert_eq!(load(path).unwrap(), snapshot(9));
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint", "ckpt_9"]);
}

#[test]
fn before_the_folder_is_renamed_the_old_checkpoint_counts() {
    for torn_list in ["", "ckpt_", "ckpt_1", "ckpt_1\nckpt_2\n"] {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &snapshot(1), 5, 4).unwrap();
        fs::create_dir(dir.path().join("ckpt_2.tmp")).unwrap();
        fs::write(dir.path().join("ckpt_2.tmp/index"), "half").unwrap();
        fs::write(dir.path().join("checkpoint.tmp"), torn_list).unwrap();
        assert_eq!(load(latest(dir.path()).unwrap().unwrap()).unwrap(), snapshot(1));
        assert_next_save_tidies(dir.path());
    }
}

#[test]
fn after_the_folder_is_renamed_the_new_checkpoint_counts() {
    // The second list drops a checkpoint that is still there.
    for new_list in ["ckpt_1\nckpt_2\n", "ckpt_2\n"] {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &snapshot(1), 5, 4).unwrap();
        let list = fs::read(dir.path().join("checkpoint")).unwrap();
        save(dir.path(), &snapshot(2), 5, 4).unwrap();
        fs::write(dir.path().join("checkpoint.tmp"), new_list).unwrap();
        fs::write(dir.path().join("checkpoint"), list).unwrap();
        assert_eq!(load(latest(dir.path()).unwrap().unwrap()).unwrap(), snapshot(2));
        assert_next_save_tidies(dir.path());
    }
}

#[test]
fn a_checkpoint_that_was_being_replaced_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &snapshot(1), 5, 4).unwrap();
    fs::rename(&path, dir.path().join("ckpt_1.old")).unwrap();
    fs::create_dir(dir.path().join("ckpt_1.tmp")).unwrap();
    assert_eq!(load(latest(dir.path()).unwrap().unwrap()).unwrap(), snapshot(1));
    assert_next_save_tidies(dir.path());
}

/// Killed at whatever point, a saving process leaves a checkpoint that loads, and no older one
/// than there was before.
#[test]
fn a_killed_process_leaves_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    // Disks differ: children are killed within the first few saves, however long one takes here.
    let begin = Instant::now();
    save(dir.path(), &snapshot(0), 2, 4).unwrap();
    save(dir.path(), &snapshot(0), 2, 4).unwrap();
    let two_saves = begin.elapsed();
    let mut before = 0;
    for round in 0..40 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "interruption::saves_until_killed"])
            .env(SAVE_TO, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with(SAVING)), "the child did not start");
        std::thread::sleep(two_saves.mul_f64(0.2 + 0.1 * f64::from(round)));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = load(latest(dir.path()).unwrap().unwrap()).unwrap();
        assert_eq!(found, snapshot(found.step));
        assert!(found.step >= before, "step {} after step {before}", found.step);
        before = found.step;
    }
    assert!(before > 0, "the child never came to save");
    assert_next_save_tidies(dir.path());
}

const SAVE_TO: &str = "RECIS_TEST_SAVE_TO";
const SAVING: &str = "saving";

/// Not a test: what `a_killed_process_leaves_a_checkpoint` kills. Each step is saved twice, so that
/// replacing is interrupted as well.
#[test]
#[ignore = "runs until killed, as a child of another test"]
fn saves_until_killed() {
    let Some(dir) = std::env::var_os(SAVE_TO) else { return };
    let newest = load(latest(&dir).unwrap().unwrap()).unwrap();
    println!("{SAVING}");
    for step in newest.step.. {
        save(&dir, &snapshot(step), 2, 4).unwrap();
        save(&dir, &snapshot(step), 2, 4).unwrap();
    }
}
