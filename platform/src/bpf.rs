//! Small programs for the kernel's virtual machine, written in Rust instruction by instruction: no compiler, no object file.
//!
//! [`assembler`] writes instructions, [`btf`] tells where this kernel keeps what, and `sys::bpf` hands both to the kernel.

pub(crate) mod assembler;
pub(crate) mod btf;
