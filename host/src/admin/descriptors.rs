//! How many descriptors are open, where `/proc` may not be asked: by asking for each whether it is.

use rustix::process::{Resource, getrlimit};

/// Of one question.
const AT_ONCE: i32 = 4096;
/// The kernel's own limit (`fs.nr_open`), unless somebody has raised it.
const MOST: u64 = 1 << 20;

/// None if the system does not say.
pub(super) fn count() -> Option<usize> {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST);
    let most = i32::try_from(most).ok()?;
    let mut open = 0;
    for first in (0..most).step_by(AT_ONCE as usize) {
        let numbers = first..most.min(first.saturating_add(AT_ONCE));
        let mut asked: Vec<libc::pollfd> =
            numbers.map(|fd| libc::pollfd { fd, events: 0, revents: 0 }).collect();
        poll(&mut asked)?;
        open += asked.iter().filter(|asked| asked.revents & libc::POLLNVAL == 0).count();
    }
    Some(open)
}

#[allow(unsafe_code)]
fn poll(asked: &mut [libc::pollfd]) -> Option<()> {
    let count = libc::nfds_t::try_from(asked.len()).ok()?;
    // SAFETY: pointer and length are those of one slice, which nobody else has. Of a number that is no descriptor the call says just that.
    let answered = unsafe { libc::poll(asked.as_mut_ptr(), count, 0) };
    (answered >= 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_counted_as_are_listed() {
        // Other tests open some meanwhile.
        let agree = || {
            let listed = std::fs::read_dir("/proc/self/fd").expect("readable").count() - 1;
            count() == Some(listed)
        };
        assert!((0..1000).any(|_| agree()));
        let more: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").expect("there")).collect();
        assert!((0..1000).any(|_| agree()) && count() > Some(more.len()));
    }
}
