//! Before the loop: a program that runs already may ask for something.

use super::super::attendant::{Attendant, Attention, Wanted};
use super::Program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::cell::Cell;

/// Calls the attendants that something waits for, and waits for nothing. What fails here the loop
/// meets again.
pub(crate) fn attend_early(attendants: &mut Vec<Box<dyn Attendant>>) {
    let restart = Cell::new(false);
    let program = Program {
        pidfd: None,
        restart: &restart,
    };
    attendants.retain_mut(|attendant| {
        let ready = poll_now(attendant.as_ref());
        ready.iter().all(|flags| flags.is_empty()) || attendant.attend(&ready, &program) == Attention::Stays
    });
}

/// Which of its descriptors are ready.
fn poll_now(attendant: &dyn Attendant) -> Vec<PollFlags> {
    let mut wanted: Wanted<'_> = Vec::new();
    attendant.want(&mut wanted);
    let mut fds: Vec<PollFd<'_>> = wanted
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds.iter().map(PollFd::revents).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::pipe::pipe;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Waits for these, and says what it was called with.
    struct Ear(Vec<OwnedFd>, Rc<RefCell<Vec<Vec<PollFlags>>>>);

    impl Attendant for Ear {
        fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
            wanted.extend(self.0.iter().map(|fd| (fd.as_fd(), PollFlags::IN)));
        }

        fn attend(&mut self, ready: &[PollFlags], _program: &Program<'_>) -> Attention {
            self.1.borrow_mut().push(ready.to_vec());
            Attention::Leaves
        }
    }

    #[test]
    fn those_that_something_waits_for_are_called() {
        let ends: Vec<(OwnedFd, OwnedFd)> = (0..4).map(|_| pipe().unwrap()).collect();
        rustix::io::write(&ends[2].1, b"x").unwrap();
        let (reading, _writing): (Vec<OwnedFd>, Vec<OwnedFd>) = ends.into_iter().unzip();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let mut reading = reading.into_iter();
        let mut attendants: Vec<Box<dyn Attendant>> = [0, 1, 2, 1]
            .into_iter()
            .map(|count| -> Box<dyn Attendant> {
                Box::new(Ear(reading.by_ref().take(count).collect(), Rc::clone(&heard)))
            })
            .collect();
        attend_early(&mut attendants);
        assert_eq!(*heard.borrow(), [vec![PollFlags::empty(), PollFlags::IN]]);
        assert_eq!(attendants.len(), 3);
        attend_early(&mut attendants);
        assert_eq!(attendants.len(), 3);
    }
}
