//! The clock on the wall (localtime_r(3)).

unsafe extern "C" {
    fn tzset();
}

/// Seconds that the wall is ahead of UTC at this moment, in seconds since 1970; `None` in a year beyond all calendars.
pub(crate) fn offset(at: i64) -> Option<i32> {
    let at: libc::time_t = at;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: tzset reads the environment and a file; this program changes its environment nowhere.
    unsafe { tzset() };
    // SAFETY: both pointers are to live values of their types, the second is written to.
    let done = unsafe { libc::localtime_r(&raw const at, parts.as_mut_ptr()) };
    if done.is_null() {
        return None;
    }
    // SAFETY: zeroes are a valid `tm`, and the call has written it.
    let parts = unsafe { parts.assume_init() };
    i32::try_from(parts.tm_gmtoff).ok()
}
