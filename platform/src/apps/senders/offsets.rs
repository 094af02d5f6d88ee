//! Where this kernel keeps what the programs read of a process, its executable and its control group.

use crate::bpf::btf::{Btf, BtfError};

/// All of it, as far as this kernel has it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) senders: Offsets,
    pub(super) connections: Result<ConnectionOffsets, BtfError>,
    pub(super) arrivals: Result<ArrivalOffsets, BtfError>,
}

/// What is read of a process that sends. Offsets in bytes, each named `structure_member`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) task_leader: i16,
    pub(super) task_parent: i16,
    pub(super) task_id: i16,
    pub(super) task_started: i16,
    pub(super) task_execs: i16,
    pub(super) task_memory: i16,
    pub(super) task_groups: i16,
    pub(super) memory_executable: i16,
    pub(super) memory_arguments: i16,
    pub(super) memory_arguments_end: i16,
    pub(super) file_mount: i16,
    pub(super) file_entry: i16,
    pub(super) entry_parent: i16,
    pub(super) entry_name: i16,
    pub(super) entry_sequence: i16,
    pub(super) entry_inode: i16,
    pub(super) inode_number: i16,
    pub(super) inode_file_system: i16,
    pub(super) file_system_device: i16,
    /// Of the public part of a mount within the whole.
    pub(super) mount_public: i16,
    pub(super) mount_root: i16,
    pub(super) mount_parent: i16,
    pub(super) mount_place: i16,
    pub(super) mount_namespace: i16,
    pub(super) mounts_number: i16,
    pub(super) groups_unified: i16,
    pub(super) group_node: i16,
    pub(super) node_parent: i16,
    pub(super) node_name: i16,
}

/// What is read of who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionOffsets {
    pub(super) context_socket: i16,
    pub(super) socket_socket: i16,
    pub(super) socket_file: i16,
    pub(super) file_references: i16,
    /// What stands there if there is one reference.
    pub(super) one_reference: i32,
    pub(super) task_files: i16,
    /// How many tasks share a table of descriptors.
    pub(super) files_sharers: i16,
    pub(super) task_signals: i16,
    pub(super) signals_threads: i16,
    pub(super) task_ids: i16,
    pub(super) ids_first_namespace: i16,
    /// The id to be given out next.
    pub(super) namespace_next: i16,
}

/// What is read of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArrivalOffsets {
    pub(super) buffer_socket: i16,
    pub(super) socket_network: i16,
    pub(super) network_cookie: i16,
}

impl Described {
    pub(super) fn of_kernel() -> Result<Self, BtfError> {
        let btf = Btf::of_kernel()?;
        Ok(Self {
            senders: Offsets::of(&btf)?,
            connections: ConnectionOffsets::of(&btf),
            arrivals: ArrivalOffsets::of(&btf),
        })
    }
}

impl Offsets {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let of = |structure, member| btf.offset(structure, member);
        let path = of("file", "f_path")?;
        let public = of("mount", "mnt")?;
        Ok(Self {
            task_leader: of("task_struct", "group_leader")?,
            task_parent: of("task_struct", "real_parent")?,
            task_id: of("task_struct", "tgid")?,
            task_started: of("task_struct", "start_boottime")?,
            task_execs: of("task_struct", "self_exec_id")?,
            task_memory: of("task_struct", "mm")?,
            task_groups: of("task_struct", "cgroups")?,
            memory_executable: of("mm_struct", "exe_file")?,
            memory_arguments: of("mm_struct", "arg_start")?,
            memory_arguments_end: of("mm_struct", "arg_end")?,
            file_mount: path + of("path", "mnt")?,
            file_entry: path + of("path", "dentry")?,
            entry_parent: of("dentry", "d_parent")?,
            entry_name: of("dentry", "d_name")? + of("qstr", "name")?,
            entry_sequence: of("dentry", "d_seq")?,
            entry_inode: of("dentry", "d_inode")?,
            inode_number: of("inode", "i_ino")?,
            inode_file_system: of("inode", "i_sb")?,
            file_system_device: of("super_block", "s_dev")?,
            mount_public: public,
            mount_root: public + of("vfsmount", "mnt_root")?,
            mount_parent: of("mount", "mnt_parent")?,
            mount_place: of("mount", "mnt_mountpoint")?,
            mount_namespace: of("mount", "mnt_ns")?,
            mounts_number: of("mnt_namespace", "ns")? + of("ns_common", "inum")?,
            groups_unified: of("css_set", "dfl_cgrp")?,
            group_node: of("cgroup", "kn")?,
            // Renamed in Linux 6.15.
            node_parent: of("kernfs_node", "__parent").or_else(|_| of("kernfs_node", "parent"))?,
            node_name: of("kernfs_node", "name")?,
        })
    }
}

impl ConnectionOffsets {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let of = |structure, member| btf.offset(structure, member);
        // Counted from 0 since Linux 6.13.
        let (file_references, one_reference) = match of("file", "f_ref") {
            Ok(references) => (references, 0),
            Err(_) => (of("file", "f_count")?, 1),
        };
        Ok(Self {
            context_socket: of("bpf_sock_addr_kern", "sk")?,
            socket_socket: of("sock", "sk_socket")?,
            socket_file: of("socket", "file")?,
            file_references,
            one_reference,
            task_files: of("task_struct", "files")?,
            files_sharers: of("files_struct", "count")?,
            task_signals: of("task_struct", "signal")?,
            signals_threads: of("signal_struct", "nr_threads")?,
            task_ids: of("task_struct", "thread_pid")?,
            ids_first_namespace: of("pid", "numbers")? + of("upid", "ns")?,
            namespace_next: of("pid_namespace", "idr")? + of("idr", "idr_next")?,
        })
    }
}

impl ArrivalOffsets {
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let of = |structure, member| btf.offset(structure, member);
        Ok(Self {
            buffer_socket: of("sk_buff", "sk")?,
            socket_network: of("sock", "__sk_common")? + of("sock_common", "skc_net")?,
            network_cookie: of("net", "net_cookie")?,
        })
    }
}
