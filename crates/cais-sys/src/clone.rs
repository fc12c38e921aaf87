//! clone3(2): making the process that becomes the init stub.
//!
//! The child shares the caller's memory (`CLONE_VM`) on a stack of its own, so
//! no page table is copied, and runs nothing but a few system calls until it executes the stub. The caller goes on meanwhile: it
//! writes the id maps, opens the mounts and sends the plan. Nothing that the
//! child reads may be freed before the stub has answered, which is why
//! [`StubProcess`] owns it.

use crate::process::exit_now;
use crate::signal::{SignalSet, set_mask};
use crate::syscall::{check, number, syscall6};
use core::arch::asm;
use core::ffi::c_char;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::Pid;

/// `CLONE_NEWTIME` and its kin as clone3(2) takes them.
pub mod namespace {
    /// Clocks (time_namespaces(7)).
    pub const TIME: u64 = 0x80;
    /// The file tree (mount_namespaces(7)).
    pub const MOUNT: u64 = 0x0002_0000;
    /// The cgroup root (cgroup_namespaces(7)).
    pub const CGROUP: u64 = 0x0200_0000;
    /// Host and domain name (uts_namespaces(7)).
    pub const UTS: u64 = 0x0400_0000;
    /// System V IPC and POSIX queues (ipc_namespaces(7)).
    pub const IPC: u64 = 0x0800_0000;
    /// Users and capabilities (user_namespaces(7)).
    pub const USER: u64 = 0x1000_0000;
    /// Process ids (pid_namespaces(7)).
    pub const PID: u64 = 0x2000_0000;
    /// The network (network_namespaces(7)).
    pub const NETWORK: u64 = 0x4000_0000;
}

const WRITE: usize = if cfg!(target_arch = "x86_64") { 1 } else { 64 };
pub(crate) const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
pub(crate) const SIGCHLD: u64 = 17;
/// The first message of a process that has a network namespace of its own, where that was asked
/// for.
pub const NETWORK_LEFT: u8 = 8;
/// Enough for the child: it calls a handful of small functions.
pub const STACK_SIZE: usize = 16 * 1024;

/// `struct clone_args` of clone3(2).
#[repr(C)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

impl CloneArgs {
    /// Nothing but the size of the stack.
    pub(crate) const NONE: Self = Self {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0,
        stack: 0,
        stack_size: STACK_SIZE as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
}

/// What the new process is made of.
#[derive(Debug)]
pub struct CloneRequest<'fd> {
    /// The namespaces that it gets of its own ([`namespace`]).
    pub namespaces: u64,
    /// The user namespace to enter before the new namespaces are made.
    pub join_user: Option<BorrowedFd<'fd>>,
    /// The cgroup v2 directory that it starts in.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// The sealed memfd of the stub.
    pub stub: BorrowedFd<'fd>,
    /// The child's end of the channel; kept open for the stub.
    pub channel: BorrowedFd<'fd>,
    /// The caller's end: the child closes its copy, so that the caller's death is seen.
    pub parent_channel: BorrowedFd<'fd>,
    /// Whether to wait for one message on the channel and become id 0 before
    /// the stub is executed: needed in a new user namespace, because execve(2)
    /// takes the capabilities of a user without a mapping.
    pub await_id_maps: bool,
    /// Whether the process makes a network namespace itself, before anything else, and says so
    /// with the byte [`NETWORK_LEFT`]: it takes the kernel four times as long as all others
    /// together, and the caller goes on meanwhile.
    pub leaves_network: bool,
    /// Whether the stub is to make the process that is wanted, with [`fork_sibling`]: it gets
    /// its argument with an `e` before the number.
    pub enters: bool,
}

/// Everything that the child reads. It lives in memory of the caller.
#[repr(C, align(16))]
pub struct ChildMemory {
    stack: [u8; STACK_SIZE],
    stub: usize,
    channel: usize,
    parent_channel: usize,
    await_id_maps: bool,
    leaves_network: bool,
    become_root: bool,
    join_user: usize,
    second: CloneArgs,
    pid: i32,
    pidfd: i32,
    errno: i32,
    second_stack: [u8; STACK_SIZE],
    name: [u8; 16],
    channel_digits: [u8; 12],
    argv: [*const c_char; 3],
    envp: [*const c_char; 1],
}

impl core::fmt::Debug for ChildMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ChildMemory")
            .field("stub", &self.stub)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl ChildMemory {
    /// Memory in which nothing has been written yet, until the process ends. It comes from
    /// the kernel, page by page as it is touched: most of the stacks never is.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn map() -> Result<&'static mut Self, Errno> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let size = size_of::<Self>();
        // SAFETY: no address is asked for, so the mapping replaces nothing.
        let start = unsafe { mmap_anonymous(core::ptr::null_mut(), size, protection, MapFlags::PRIVATE) }?;
        // SAFETY: the mapping is page-aligned, as large as the type, writable, ours alone and
        // never unmapped; zero is a value of every field (numbers, null pointers, false).
        let memory = unsafe { &mut *start.cast::<Self>() };
        memory.pidfd = -1;
        memory.name = *b"cais-init\0\0\0\0\0\0\0";
        Ok(memory)
    }
}

/// The process that was made.
#[derive(Debug)]
pub struct StubProcess {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// A descriptor of it (pidfd_open(2)), close-on-exec.
    pub pidfd: OwnedFd,
}

/// Makes the process. It executes the stub with two arguments: its name and the
/// number of the channel's descriptor. All its signals are blocked: the first process of a pid
/// namespace loses what comes before it listens (pid_namespaces(7)).
///
/// `memory` must stay where it is, and untouched, until the stub has sent its
/// first message or is dead; therefore it is `'static` (the caller leaks it, or
/// keeps one).
///
/// # Errors
/// As clone3(2): `EPERM` or `ENOSPC` for a user namespace, `EAGAIN` at a limit
/// on processes, `EBUSY` or `EOPNOTSUPP` for a cgroup that takes no process.
pub fn clone_stub(
    request: &CloneRequest<'_>,
    memory: &'static mut ChildMemory,
) -> Result<StubProcess, Errno> {
    let number_of = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned() as usize;
    memory.stub = number_of(request.stub);
    memory.channel = number_of(request.channel);
    memory.parent_channel = number_of(request.parent_channel);
    memory.await_id_maps = request.await_id_maps;
    memory.leaves_network = request.leaves_network;
    write_digits(&mut memory.channel_digits, memory.channel);
    if request.enters {
        memory.channel_digits.rotate_right(1);
        memory.channel_digits[0] = b'e';
    }
    memory.argv = [
        memory.name.as_ptr().cast(),
        memory.channel_digits.as_ptr().cast(),
        core::ptr::null(),
    ];

    memory.become_root = request.await_id_maps || request.join_user.is_some();

    let mut args = CloneArgs {
        flags: request.namespaces | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: core::ptr::from_mut(&mut memory.pidfd) as u64,
        stack: memory.stack.as_ptr() as u64,
        ..CloneArgs::NONE
    };
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = number_of(cgroup) as u64;
    }
    memory.join_user = request.join_user.map_or(0, number_of);
    let before = set_mask(SignalSet::ALL);
    let made = match request.join_user {
        None => clone_directly(args, memory),
        Some(_) => clone_by_way_of(args, memory),
    };
    set_mask(before);
    made?;
    let pid = Pid::from_raw(memory.pid).ok_or(Errno::CHILD)?;
    // SAFETY: the kernel stored a new descriptor there; nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(memory.pidfd) };
    Ok(StubProcess { pid, pidfd })
}

fn clone_directly(mut args: CloneArgs, memory: &mut ChildMemory) -> Result<(), Errno> {
    args.exit_signal = SIGCHLD;
    // SAFETY: the stack belongs to the child alone, the memory lives for ever,
    // and `child` runs only system calls; see `clone3_on_stack`.
    let pid = check(unsafe { clone3_on_stack(&args, memory, child) })?;
    memory.pid = i32::try_from(pid).unwrap_or(0);
    Ok(())
}

/// Makes the process by way of another one that enters the user namespace first and
/// is gone afterwards: a process that has entered one cannot come back, and the new
/// namespaces are to belong to it. `CLONE_PARENT` makes the result our child all the
/// same.
fn clone_by_way_of(mut second: CloneArgs, memory: &mut ChildMemory) -> Result<(), Errno> {
    const CLONE_FILES: u64 = 0x400;
    const CLONE_PARENT: u64 = 0x8000;
    const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
    second.flags |= CLONE_PARENT | CLONE_PARENT_SETTID;
    second.parent_tid = core::ptr::from_mut(&mut memory.pid) as u64;
    memory.second = second;
    // Descriptors are shared, so that the pidfd that it gets is ours.
    let first = CloneArgs {
        flags: CLONE_VM | CLONE_FILES | CLONE_CLEAR_SIGHAND,
        exit_signal: SIGCHLD,
        stack: memory.second_stack.as_ptr() as u64,
        ..CloneArgs::NONE
    };
    // SAFETY: as for `child`; this one has the second stack to itself.
    let pid = check(unsafe { clone3_on_stack(&first, memory, way) })?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    rustix::io::retry_on_intr(|| rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()))?;
    // SAFETY: the field is there; volatile, because another process wrote it.
    let errno = unsafe { core::ptr::from_ref(&memory.errno).read_volatile() };
    if errno != 0 {
        return Err(Errno::from_raw_os_error(errno));
    }
    // SAFETY: as above; what the kernel wrote for the other process must be read anew.
    memory.pid = unsafe { core::ptr::from_ref(&memory.pid).read_volatile() };
    // SAFETY: as above.
    memory.pidfd = unsafe { core::ptr::from_ref(&memory.pidfd).read_volatile() };
    Ok(())
}

/// The process on the way: it enters the user namespace and makes the one that is wanted.
unsafe extern "C" fn way(memory: *const ChildMemory) -> ! {
    const SETNS: usize = if cfg!(target_arch = "x86_64") { 308 } else { 268 };
    // SAFETY: `clone_by_way_of` filled it and waits until this process is gone.
    let shared = unsafe { &*memory };
    let arguments = [shared.join_user, namespace_flag(namespace::USER), 0, 0, 0, 0];
    // SAFETY: takes numbers.
    let entered = check(unsafe { syscall6(SETNS, arguments) });
    let made = entered.and_then(|_| {
        // SAFETY: as in `clone_stub`: the first stack belongs to that child alone.
        check(unsafe { clone3_on_stack(&shared.second, shared, child) })
    });
    if let Err(errno) = made {
        let place = core::ptr::addr_of!(shared.errno).cast_mut();
        // SAFETY: the caller reads it only after this process is gone.
        unsafe { place.write_volatile(errno.raw_os_error()) };
    }
    exit_now(0)
}

/// Does `work` in a process of its own that shares this one's memory and descriptors: for what
/// a process cannot undo, such as entering a user namespace. This process stands still
/// meanwhile; everything that the other one opens, allocates or writes is this one's afterwards.
///
/// # Errors
/// As clone3(2). A `work` that was killed left no result.
#[cfg(not(feature = "stub"))]
pub fn apart(work: &mut dyn FnMut()) -> Result<(), Errno> {
    use core::cell::RefCell;
    const CLONE_FILES: u64 = 0x400;
    const CLONE_VFORK: u64 = 0x4000;
    /// Like a thread's: touched page by page.
    const STACK: usize = 1024 * 1024;
    type Errand<'a> = RefCell<&'a mut dyn FnMut()>;
    unsafe extern "C" fn run(errand: *const Errand<'_>) -> ! {
        // SAFETY: the caller stands still (CLONE_VFORK) and keeps it until this process is gone.
        let errand = unsafe { &*errand };
        errand.borrow_mut()();
        exit_now(0)
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: no address is asked for, so the mapping replaces nothing.
    let stack = unsafe { mmap_anonymous(core::ptr::null_mut(), STACK, protection, MapFlags::PRIVATE) }?;
    let args = CloneArgs {
        flags: CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_CLEAR_SIGHAND,
        exit_signal: SIGCHLD,
        stack: stack as u64,
        stack_size: STACK as u64,
        ..CloneArgs::NONE
    };
    let errand: Errand<'_> = RefCell::new(work);
    // SAFETY: the stack is the child's alone; this process goes on when the child is gone.
    let pid = check(unsafe { clone3_on_stack(&args, &errand, run) });
    let waited = pid.and_then(|pid| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        rustix::io::retry_on_intr(|| rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()))
    });
    // SAFETY: it was mapped above, and nobody runs on it any more.
    unsafe { rustix::mm::munmap(stack, STACK) }?;
    waited.map(drop)
}

/// Which side of [`fork_sibling`] this is.
#[derive(Debug)]
pub enum Sibling {
    /// The new process.
    New,
    /// The old one, with a pidfd of the new one (close-on-exec).
    Old(OwnedFd),
}

/// Copies the process, which has one thread, with its memory: as fork(2), but the new process
/// is a child of this one's parent, begins in `cgroup`, and has new namespaces.
///
/// # Errors
/// As clone3(2).
pub fn fork_sibling(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Sibling, Errno> {
    const CLONE_PARENT: u64 = 0x8000;
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces | CLONE_PIDFD | CLONE_PARENT,
        pidfd: core::ptr::from_mut(&mut pidfd) as u64,
        stack_size: 0,
        ..CloneArgs::NONE
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let arguments = [core::ptr::from_ref(&args) as usize, size_of::<CloneArgs>()];
    // SAFETY: without CLONE_VM the child gets a copy of the address space and returns on a
    // copy of this stack; the kernel reads `args` and writes `pidfd`.
    let result = unsafe { syscall6(number::CLONE3, [arguments[0], arguments[1], 0, 0, 0, 0]) };
    if check(result)? == 0 {
        return Ok(Sibling::New);
    }
    // SAFETY: the kernel wrote it there.
    let pidfd = unsafe { core::ptr::from_ref(&pidfd).read_volatile() };
    // SAFETY: it is new, and nobody else knows it.
    Ok(Sibling::Old(unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

fn namespace_flag(kind: u64) -> usize {
    usize::try_from(kind).unwrap_or(0)
}

/// Writes `value` in decimal with a nul byte behind it.
fn write_digits(buffer: &mut [u8; 12], value: usize) {
    let mut digits = [0u8; 11];
    let mut rest = value;
    let mut count = 0;
    loop {
        digits[count] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 || count == digits.len() {
            break;
        }
    }
    *buffer = [0; 12];
    for (target, digit) in buffer.iter_mut().zip(digits[..count].iter().rev()) {
        *target = *digit;
    }
}

/// Issues clone3 so that the child calls `entry` on its own stack.
///
/// # Safety
/// `args.stack` must be memory of `memory` or other memory that only the child
/// uses, and `memory` must not be freed or changed while the child runs in it.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn clone3_on_stack<T>(
    args: &CloneArgs,
    memory: &T,
    entry: unsafe extern "C" fn(*const T) -> !,
) -> isize {
    let result: isize;
    // SAFETY: in the parent the instruction behaves as in `syscall6`. In the
    // child rax is 0, the stack pointer is the top of the new stack (16-byte
    // aligned, so that `call` leaves it as the ABI wants), r12 and r13 still
    // hold their values, and `child` never returns.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number::CLONE3 => result,
            in("rdi") core::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") core::ptr::from_ref(memory),
            in("r13") entry as *const (),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// Issues clone3 so that the child calls `entry` on its own stack.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "aarch64")]
pub(crate) unsafe fn clone3_on_stack<T>(
    args: &CloneArgs,
    memory: &T,
    entry: unsafe extern "C" fn(*const T) -> !,
) -> isize {
    let result: isize;
    // SAFETY: as on x86_64, with x9 and x10 as the registers that survive.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x8") number::CLONE3,
            inlateout("x0") core::ptr::from_ref(args) => result,
            in("x1") size_of::<CloneArgs>(),
            in("x9") core::ptr::from_ref(memory),
            in("x10") entry as *const (),
            lateout("x30") _,
        );
    }
    result
}

/// The child, from clone to exec: system calls only. It reads `memory` and
/// writes nothing but its own stack.
unsafe extern "C" fn child(memory: *const ChildMemory) -> ! {
    // SAFETY: `clone_stub` filled it and leaves it alone.
    let memory = unsafe { &*memory };
    let errno = match run_child(memory) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    report(memory, errno);
    exit_now(125)
}

fn run_child(memory: &ChildMemory) -> Result<core::convert::Infallible, Errno> {
    const CLOSE: usize = if cfg!(target_arch = "x86_64") { 3 } else { 57 };
    const FCNTL: usize = if cfg!(target_arch = "x86_64") { 72 } else { 25 };
    const READ: usize = if cfg!(target_arch = "x86_64") { 0 } else { 63 };
    const UNSHARE: usize = if cfg!(target_arch = "x86_64") { 272 } else { 97 };
    const SETRESUID: usize = if cfg!(target_arch = "x86_64") { 117 } else { 147 };
    const SETRESGID: usize = if cfg!(target_arch = "x86_64") { 119 } else { 149 };
    const PR_SET_PDEATHSIG: usize = 1;
    const SIGKILL: usize = 9;
    const F_SETFD: usize = 2;
    const AT_EMPTY_PATH: usize = 0x1000;
    let call = |number, args| {
        // SAFETY: every call below takes numbers, or pointers into `memory` and
        // this stack that are as long as the call expects.
        check(unsafe { syscall6(number, args) })
    };
    call(number::PRCTL, [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0])?;
    call(CLOSE, [memory.parent_channel, 0, 0, 0, 0, 0])?;
    if memory.leaves_network {
        call(UNSHARE, [namespace_flag(namespace::NETWORK), 0, 0, 0, 0, 0])?;
        let word = core::ptr::from_ref(&NETWORK_LEFT) as usize;
        call(WRITE, [memory.channel, word, 1, 0, 0, 0])?;
    }
    if memory.await_id_maps {
        let mut byte = 0u8;
        let buffer = core::ptr::from_mut(&mut byte) as usize;
        if call(READ, [memory.channel, buffer, 1, 0, 0, 0])? == 0 {
            // The caller is gone.
            exit_now(125);
        }
    }
    if memory.become_root {
        call(SETRESGID, [0, 0, 0, 0, 0, 0])?;
        call(SETRESUID, [0, 0, 0, 0, 0, 0])?;
        // A change of ids clears the parent death signal (prctl(2)).
        call(number::PRCTL, [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0])?;
    }
    call(FCNTL, [memory.channel, F_SETFD, 0, 0, 0, 0])?;
    let empty = c"".as_ptr() as usize;
    let (argv, envp) = (memory.argv.as_ptr() as usize, memory.envp.as_ptr() as usize);
    call(
        number::EXECVEAT,
        [memory.stub, empty, argv, envp, AT_EMPTY_PATH, 0],
    )?;
    Err(Errno::INVAL)
}

/// Tells the caller why the stub could not be executed: four bytes, the errno.
fn report(memory: &ChildMemory, errno: Errno) {
    let bytes = errno.raw_os_error().to_ne_bytes();
    // SAFETY: four bytes of this stack are read.
    unsafe {
        syscall6(
            WRITE,
            [memory.channel, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_end_with_a_nul() {
        for (value, want) in [(0, &b"0\0"[..]), (7, b"7\0"), (1024, b"1024\0")] {
            let mut buffer = [1; 12];
            write_digits(&mut buffer, value);
            assert_eq!(&buffer[..want.len()], want);
        }
    }
}
