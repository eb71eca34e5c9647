//! Which file systems are on a network: the one list, and how it is read.
//!
//! SQLite's write-ahead log needs memory and locks that all processes share; over a network they lie, and two
//! machines would spend one token. FUSE is judged by the name of what is behind it, because it serves local folders
//! (containers, encryption) as well as remote ones.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Magic numbers of `statfs(2)`. The numbers are the kernel's; 9P is how virtual machines share their host's folders.
const BY_MAGIC: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564C, "NCP"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636F, "OCFS2"),
    (0x0116_1970, "GFS2"),
];

/// What may be behind FUSE, by the file system type in `/proc/self/mountinfo`.
const BEHIND_FUSE: &[&str] = &[
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.glusterfs",
    "fuse.ceph-fuse",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.gcsfuse",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.goofys",
    "fuse.juicefs",
    "fuse.curlftpfs",
    "fuse.moosefs",
    "fuse.seaweedfs",
];

const FUSE_MAGIC: u32 = 0x6573_5546;

/// The name of the network file system that `folder` is on; `None` where it is on a local one.
///
/// # Errors
/// The folder, or the list of mounts, cannot be read.
pub fn network_file_system(folder: &Path) -> std::io::Result<Option<String>> {
    let magic = magic_number(folder)?;
    let fuse_type = if magic == FUSE_MAGIC {
        let device = fs::metadata(folder)?.dev();
        mount_type(&fs::read_to_string("/proc/self/mountinfo")?, device)
    } else {
        None
    };
    Ok(judge(magic, fuse_type.as_deref()))
}

fn magic_number(folder: &Path) -> std::io::Result<u32> {
    let kind = rustix::fs::statfs(folder)?.f_type;
    // The field is signed on most machines; the numbers have 32 bits.
    let [.., a, b, c, d] = i128::from(kind).to_be_bytes();
    Ok(u32::from_be_bytes([a, b, c, d]))
}

fn judge(magic: u32, fuse_type: Option<&str>) -> Option<String> {
    if magic == FUSE_MAGIC {
        return fuse_type.filter(|name| BEHIND_FUSE.contains(name)).map(str::to_owned);
    }
    BY_MAGIC.iter().find(|(number, _)| *number == magic).map(|(_, name)| (*name).to_owned())
}

/// The file system type of the mount with this device number.
fn mount_type(mountinfo: &str, device: u64) -> Option<String> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_it = mount.split(' ').nth(2) == Some(device.as_str());
        is_it.then(|| file_system.split(' ').next().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_told_from_local_ones() {
        assert_eq!(judge(0x6969, None).as_deref(), Some("NFS"));
        assert_eq!(judge(0xFF53_4D42, None).as_deref(), Some("CIFS"));
        assert_eq!(judge(0xEF53, None), None, "ext4");
        assert_eq!(judge(FUSE_MAGIC, Some("fuse.sshfs")).as_deref(), Some("fuse.sshfs"));
        assert_eq!(judge(FUSE_MAGIC, Some("fuse.fuse-overlayfs")), None);
        assert_eq!(judge(FUSE_MAGIC, None), None);
    }

    #[test]
    fn what_is_behind_fuse_is_read_from_the_mount_table() {
        let table = "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     93 29 0:47 / /mnt/far rw,nosuid shared:5 - fuse.sshfs host:/ rw,user_id=0\n";
        assert_eq!(mount_type(table, rustix::fs::makedev(0, 47)).as_deref(), Some("fuse.sshfs"));
        assert_eq!(mount_type(table, rustix::fs::makedev(0, 48)), None);
    }

    #[test]
    fn a_temporary_folder_of_this_machine_is_local() {
        assert_eq!(network_file_system(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }
}
