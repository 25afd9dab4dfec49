//! A server that speaks S3, on a free port of this machine: moto, as `cargo xtask setup` installs
//! it. What is stored is gone with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cardlens_engine::Remote;

use crate::broker::{free_ports, target};
use crate::live::{now, pause};

/// Longest time that it takes to start.
const START: Duration = Duration::from_secs(60);
const BUCKET: &str = "snapshots";

/// The server, with one bucket; ends when dropped.
pub struct Objects {
    child: Child,
    port: u16,
}

impl Objects {
    /// Starts a server.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let program = target()?.join("tools/s3/bin/moto_server");
        ensure!(program.exists(), "{} is missing: cargo xtask setup", program.display());
        let [port, _] = free_ports()?;
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the object store")?;
        let mut objects = Self { child, port };
        let started = now();
        loop {
            match objects.make_bucket() {
                Ok(()) => return Ok(objects),
                Err(error) if started.elapsed() > START => return Err(error),
                Err(_) => pause(Duration::from_millis(50)),
            }
            if let Some(status) = objects.child.try_wait()? {
                bail!("the object store ended with {status}");
            }
        }
    }

    fn make_bucket(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(START))?;
        let head = "Host: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(format!("PUT /{BUCKET} HTTP/1.1\r\n{head}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.split(' ').nth(1) == Some("200"), "make a bucket: {answer}");
        Ok(())
    }

    /// A place in its bucket, as a configuration and an environment describe it.
    #[must_use]
    pub fn remote(&self, prefix: &str) -> Remote {
        let mut remote = Remote::parse(&format!("s3://{BUCKET}/{prefix}")).unwrap();
        remote.set("endpoint", &format!("http://127.0.0.1:{}", self.port)).unwrap();
        remote.set("allow_http", "true").unwrap();
        let variables = [
            ("AWS_ACCESS_KEY_ID", "tests"),
            ("AWS_SECRET_ACCESS_KEY", "no secret"),
            ("AWS_REGION", "us-east-1"),
        ];
        remote.complete(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        remote
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
