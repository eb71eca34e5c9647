//! A terminal, as a person uses it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jeton_testkit::{TestInstallation, jeton_binary};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A person at a terminal in which jeton runs. Dropping it ends jeton.
pub(crate) struct Person {
    pub(crate) child: Child,
    pub(crate) keyboard: File,
    screen: Receiver<u8>,
    pub(crate) seen: String,
}

impl Person {
    pub(crate) fn run(home: &TestInstallation, arguments: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let end = || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).unwrap());
        let child = Command::new(jeton_binary().unwrap())
            .arg("--config")
            .arg(home.settings())
            .args(arguments)
            .current_dir(home.path())
            .env_clear()
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keyboard = File::from(terminal);
        let mut glass = keyboard.try_clone().unwrap();
        let (shown, screen) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while matches!(glass.read(&mut byte), Ok(1)) && shown.send(byte[0]).is_ok() {}
        });
        Self { child, keyboard, screen, seen: String::new() }
    }

    /// Waits until the screen says this, beyond what was read before.
    #[track_caller]
    pub(crate) fn reads(&mut self, text: &str) {
        let from = self.seen.len();
        while !self.seen[from..].contains(text) {
            match self.screen.recv_timeout(Duration::from_secs(20)) {
                Ok(byte) => self.seen.push(char::from(byte)),
                Err(error) => panic!("{text:?} is not shown ({error}): {}", self.seen),
            }
        }
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).unwrap();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
