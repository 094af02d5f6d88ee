//! What is written down here by hand, held against the system's own declarations when this is compiled for macOS.

use std::mem::offset_of;

use super::{ROUTE_HEADER, VERSION, addresses, flag, kind};

const _: () = {
    assert!(size_of::<libc::rt_msghdr>() == ROUTE_HEADER);
    assert!(offset_of!(libc::rt_msghdr, rtm_version) == 2);
    assert!(offset_of!(libc::rt_msghdr, rtm_type) == 3);
    assert!(offset_of!(libc::rt_msghdr, rtm_index) == 4);
    assert!(offset_of!(libc::rt_msghdr, rtm_flags) == 8);
    assert!(offset_of!(libc::rt_msghdr, rtm_addrs) == 12);
    assert!(offset_of!(libc::rt_msghdr, rtm_pid) == 16);
    assert!(offset_of!(libc::rt_msghdr, rtm_seq) == 20);
    assert!(offset_of!(libc::rt_msghdr, rtm_errno) == 24);
};

const fn is(ours: u32, theirs: libc::c_int) -> bool {
    ours.cast_signed() == theirs
}

// Both casts widen; `From` is not const.
const fn is_kind(ours: u8, theirs: libc::c_int) -> bool {
    ours as libc::c_int == theirs
}

const fn is_length(ours: u8, theirs: usize) -> bool {
    ours as usize == theirs
}

const _: () = {
    assert!(is_kind(VERSION, libc::RTM_VERSION));
    assert!(is_kind(kind::ADD, libc::RTM_ADD));
    assert!(is_kind(kind::DELETE, libc::RTM_DELETE));
    assert!(is_kind(kind::CHANGE, libc::RTM_CHANGE));
    assert!(is_kind(kind::GET, libc::RTM_GET));
    assert!(is_kind(kind::REDIRECT, libc::RTM_REDIRECT));
    assert!(is_kind(kind::NEW_ADDRESS, libc::RTM_NEWADDR));
    assert!(is_kind(kind::OLD_ADDRESS, libc::RTM_DELADDR));
    assert!(is_kind(kind::INTERFACE, libc::RTM_IFINFO));
    assert!(is(flag::UP, libc::RTF_UP));
    assert!(is(flag::GATEWAY, libc::RTF_GATEWAY));
    assert!(is(flag::HOST, libc::RTF_HOST));
    assert!(is(flag::REJECT, libc::RTF_REJECT));
    assert!(is(flag::STATIC, libc::RTF_STATIC));
    assert!(is(flag::BLACKHOLE, libc::RTF_BLACKHOLE));
    assert!(is(flag::WAS_CLONED, libc::RTF_WASCLONED));
    assert!(is(flag::PROTOCOL_3, libc::RTF_PROTO3));
    assert!(is(flag::INTERFACE_SCOPE, libc::RTF_IFSCOPE));
};

const _: () = {
    assert!(is_kind(addresses::INET, libc::AF_INET));
    assert!(is_kind(addresses::INET6, libc::AF_INET6));
    assert!(is_kind(addresses::LINK, libc::AF_LINK));
    assert!(addresses::INET_ADDRESS == offset_of!(libc::sockaddr_in, sin_addr));
    assert!(addresses::INET6_ADDRESS == offset_of!(libc::sockaddr_in6, sin6_addr));
    assert!(is_length(
        addresses::INET_LEN,
        size_of::<libc::sockaddr_in>()
    ));
    assert!(is_length(
        addresses::INET6_LEN,
        size_of::<libc::sockaddr_in6>()
    ));
    assert!(is_length(
        addresses::LINK_LEN,
        size_of::<libc::sockaddr_dl>()
    ));
};
