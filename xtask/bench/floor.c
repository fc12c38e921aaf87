/*
 * The floor of `cargo xtask bench start`: a C program that does what a start of
 * `cais run --rm --network none host true` asks of the kernel, and nothing else: no
 * state, no log, no checks worth the name.
 *
 *   floor           cgroups, a clone into all namespaces, id maps, an id-mapped overlay
 *                   over /, the same mounts, masked and read-only paths, pivot_root, a
 *                   seccomp filter, capabilities, execve of /bin/true; then removal
 *   floor --join P  the cgroups and namespaces of process P, and the same execve
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FSCONFIG_SET_FD
#define FSCONFIG_SET_FD 5
#endif
#define BASE 1073741824u
#define MAX 32

struct attributes { uint64_t set, clear, propagation, userns; };

static void die(const char *what) { fprintf(stderr, "floor: %s: %s\n", what, strerror(errno)); _exit(125); }
#define NEED(call) do { if ((call) < 0) die(#call); } while (0)

static char groups[MAX][256];
static char options[MAX][256];
static int group_count, tasks[MAX];

/* The hierarchies of cgroup v1, from mountinfo. */
static void find_groups(void) {
    FILE *file = fopen("/proc/self/mountinfo", "r");
    char line[1024], where[256], kind[64], opts[256];
    if (!file) die("mountinfo");
    while (fgets(line, sizeof line, file)) {
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %*s %255s", where) != 1) continue;
        if (sscanf(dash, " - %63s %*s %255s", kind, opts) != 2 || strcmp(kind, "cgroup")) continue;
        snprintf(groups[group_count], sizeof groups[0], "%s", where);
        snprintf(options[group_count], sizeof options[0], "%s", strncmp(opts, "rw,", 3) ? opts : opts + 3);
        if (++group_count == MAX) break;
    }
    fclose(file);
}

static void make_groups(const char *name) {
    char path[512], value[256];
    for (int i = 0; i < group_count; i++) {
        snprintf(path, sizeof path, "%s/%s", groups[i], name);
        NEED(mkdir(path, 0755));
        if (!strcmp(options[i], "cpuset"))
            for (int j = 0; j < 2; j++) {
                const char *leaf = j ? "cpuset.mems" : "cpuset.cpus";
                snprintf(path, sizeof path, "%s/%s", groups[i], leaf);
                int from = open(path, O_RDONLY | O_CLOEXEC), length = read(from, value, sizeof value);
                close(from);
                snprintf(path, sizeof path, "%s/%s/%s", groups[i], name, leaf);
                int to = open(path, O_WRONLY | O_CLOEXEC);
                NEED(write(to, value, length));
                close(to);
            }
        snprintf(path, sizeof path, "%s/%s/tasks", groups[i], name);
        NEED(tasks[i] = open(path, O_WRONLY | O_CLOEXEC));
    }
}

static int new_mount(const char *kind, const char *pairs[][2], unsigned flags) {
    int context = syscall(SYS_fsopen, kind, 1);
    if (context < 0) die(kind);
    for (int i = 0; pairs && pairs[i][0]; i++)
        NEED(syscall(SYS_fsconfig, context, pairs[i][1] ? 1 : 0, pairs[i][0], pairs[i][1], 0));
    NEED(syscall(SYS_fsconfig, context, 6, 0, 0, 0));
    int mount = syscall(SYS_fsmount, context, 1, flags);
    if (mount < 0) die(kind);
    close(context);
    return mount;
}

static void attach(int root, int mount, const char *path, int directory) {
    if (directory) mkdirat(root, path, 0755);
    else close(openat(root, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    NEED(syscall(SYS_move_mount, mount, "", root, path, MOVE_MOUNT_F_EMPTY_PATH));
}

static void mount_new(int root, const char *kind, const char *path, const char *pairs[][2], unsigned flags) {
    int mount = new_mount(kind, pairs, flags);
    attach(root, mount, path, 1);
    close(mount);
}

static void idmap(int tree, int userns) {
    struct attributes attr = {.set = MOUNT_ATTR_IDMAP, .userns = userns};
    NEED(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr));
}

static int clone_tree(const char *path) {
    int tree = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0) die(path);
    return tree;
}

static int make_root(const char *changes, int userns) {
    int lower = clone_tree("/"), upper = clone_tree(changes);
    idmap(lower, userns);
    idmap(upper, userns);
    int context = syscall(SYS_fsopen, "overlay", 1);
    int up = openat(upper, "upper", O_PATH | O_CLOEXEC), work = openat(upper, "work", O_PATH | O_CLOEXEC);
    NEED(syscall(SYS_fsconfig, context, FSCONFIG_SET_FD, "lowerdir+", 0, lower));
    NEED(syscall(SYS_fsconfig, context, FSCONFIG_SET_FD, "upperdir", 0, up));
    NEED(syscall(SYS_fsconfig, context, FSCONFIG_SET_FD, "workdir", 0, work));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct held[2];
    NEED(syscall(SYS_capget, &header, held));
    syscall(SYS_setfsuid, BASE);
    syscall(SYS_setfsgid, BASE);
    NEED(syscall(SYS_capset, &header, held));
    NEED(syscall(SYS_fsconfig, context, 6, 0, 0, 0));
    syscall(SYS_setfsgid, 0);
    syscall(SYS_setfsuid, 0);
    NEED(syscall(SYS_capset, &header, held));
    int root = syscall(SYS_fsmount, context, 1, 0);
    if (root < 0) die("fsmount overlay");
    return root;
}

static void send_fds(int socket, int *fds, int count) {
    char byte = 'x', space[CMSG_SPACE(sizeof(int) * MAX)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    NEED(sendmsg(socket, &message, 0));
}

static void receive_fds(int socket, int *fds, int count) {
    char byte, space[CMSG_SPACE(sizeof(int) * MAX)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    NEED(recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int) * count);
}

/* The last steps, the same for both: a filter, capabilities, execve. */
static void become_true(void) {
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1000, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    NEED(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    uint64_t keep = 0xa80425fb;
    for (int i = 0; i <= 40; i++)
        if (!(keep >> i & 1)) NEED(prctl(PR_CAPBSET_DROP, i, 0, 0, 0));
    NEED(syscall(SYS_setgroups, 0, 0));
    NEED(syscall(SYS_setresgid, 0, 0, 0));
    NEED(syscall(SYS_setresuid, 0, 0, 0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct held[2] = {{keep, keep, 0}, {0, 0, 0}};
    NEED(syscall(SYS_capset, &header, held));
    char *argv[] = {"true", NULL}, *envp[] = {"PATH=/usr/bin:/bin", NULL};
    execve("/bin/true", argv, envp);
    die("execve");
}

static const char *devices[] = {"dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom", "dev/tty"};

static void child(int socket) {
    char byte;
    int fds[8];
    NEED(read(socket, &byte, 1));
    NEED(syscall(SYS_setresgid, 0, 0, 0));
    NEED(syscall(SYS_setresuid, 0, 0, 0));
    for (int i = 0; i < group_count; i++) NEED(write(tasks[i], "0", 1));
    NEED(unshare(CLONE_NEWCGROUP));
    NEED(setsid());
    NEED(sethostname("floor", 5));
    int inet = socket < 0 ? -1 : (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq interface = {.ifr_name = "lo"};
    NEED(ioctl(inet, SIOCGIFFLAGS, &interface));
    interface.ifr_flags |= IFF_UP;
    NEED(ioctl(inet, SIOCSIFFLAGS, &interface));
    struct attributes private = {.propagation = MS_PRIVATE};
    NEED(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof private));
    receive_fds(socket, fds, 7);
    int root = fds[0];
    NEED(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
    unsigned safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    mount_new(root, "proc", "proc", NULL, safe);
    mount_new(root, "tmpfs", "dev", (const char *[][2]){{"mode", "755"}, {"size", "65536k"}, {0}}, MOUNT_ATTR_NOSUID);
    mount_new(root, "devpts", "dev/pts", (const char *[][2]){{"newinstance", 0}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}, {0}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    mount_new(root, "sysfs", "sys", NULL, safe | MOUNT_ATTR_RDONLY);
    mount_new(root, "tmpfs", "sys/fs/cgroup", (const char *[][2]){{"mode", "755"}, {0}}, safe);
    for (int i = 0; i < group_count; i++) {
        char path[256], *equal = strchr(options[i], '=');
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", strrchr(groups[i], '/') + 1);
        const char *pairs[2][2] = {{options[i], 0}, {0}};
        if (equal) {
            pairs[0][0] = "name";
            pairs[0][1] = equal + 1;
        }
        mount_new(root, "cgroup", path, pairs, safe | MOUNT_ATTR_RDONLY);
    }
    mount_new(root, "mqueue", "dev/mqueue", NULL, safe);
    mount_new(root, "tmpfs", "dev/shm", (const char *[][2]){{"mode", "1777"}, {"size", "67108864"}, {0}}, safe);
    mount_new(root, "tmpfs", "run", (const char *[][2]){{"mode", "755"}, {0}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    mount_new(root, "tmpfs", "tmp", (const char *[][2]){{"mode", "1777"}, {0}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    for (int i = 0; i < 6; i++) attach(root, fds[1 + i], devices[i], 0);
    symlinkat("/proc/self/fd", root, "dev/fd");
    symlinkat("/proc/self/fd/0", root, "dev/stdin");
    symlinkat("/proc/self/fd/1", root, "dev/stdout");
    symlinkat("/proc/self/fd/2", root, "dev/stderr");
    symlinkat("pts/ptmx", root, "dev/ptmx");
    const char *readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    struct attributes ro = {.set = MOUNT_ATTR_RDONLY};
    for (int i = 0; i < 5; i++) {
        int copy = syscall(SYS_open_tree, root, readonly[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (copy < 0) continue;
        NEED(syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &ro, sizeof ro));
        NEED(syscall(SYS_move_mount, copy, "", root, readonly[i], MOVE_MOUNT_F_EMPTY_PATH));
        close(copy);
    }
    const char *masked[] = {"proc/kcore", "proc/keys", "proc/timer_list", "proc/interrupts", "proc/latency_stats"};
    for (int i = 0; i < 5; i++) {
        int copy = syscall(SYS_open_tree, fds[1], "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (copy < 0) die("open_tree null");
        syscall(SYS_move_mount, copy, "", root, masked[i], MOVE_MOUNT_F_EMPTY_PATH);
        close(copy);
    }
    const char *hidden[] = {"proc/acpi", "sys/firmware", "sys/devices/virtual/powercap", "proc/scsi"};
    int empty = new_mount("tmpfs", (const char *[][2]){{"size", "0"}, {0}}, MOUNT_ATTR_RDONLY), used = 0;
    for (int i = 0; i < 4; i++) {
        int copy = used ? syscall(SYS_open_tree, empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH) : empty;
        if (syscall(SYS_move_mount, copy, "", root, hidden[i], MOVE_MOUNT_F_EMPTY_PATH) == 0) used = 1;
    }
    NEED(fchdir(root));
    NEED(syscall(SYS_pivot_root, ".", "."));
    NEED(umount2(".", MNT_DETACH));
    NEED(chdir("/"));
    NEED(syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
    become_true();
}

static void join(const char *pid) {
    char path[512], line[512];
    int process = syscall(SYS_pidfd_open, atoi(pid), 0);
    if (process < 0) die("pidfd_open");
    snprintf(path, sizeof path, "/proc/%s/cgroup", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : 0;
        if (!second) continue;
        *second = 0;
        second[strcspn(second + 1, "\n") + 1] = 0;
        for (int i = 0; i < group_count; i++)
            if (!strcmp(options[i], first + 1)) {
                snprintf(path, sizeof path, "%s%s/tasks", groups[i], second + 1);
                tasks[i] = open(path, O_WRONLY | O_CLOEXEC);
            }
    }
    NEED(setns(process, CLONE_NEWPID));
    pid_t made = fork();
    if (made == 0) {
        for (int i = 0; i < group_count; i++) NEED(write(tasks[i], "0", 1));
        NEED(setns(process, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP));
        NEED(setsid());
        become_true();
    }
    int status;
    NEED(waitpid(made, &status, 0));
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int main(int argc, char **argv) {
    find_groups();
    if (argc == 3 && !strcmp(argv[1], "--join")) join(argv[2]);
    char changes[64], name[32], path[4352];
    snprintf(name, sizeof name, "floor-%d", getpid());
    snprintf(changes, sizeof changes, "/var/tmp/%s", name);
    NEED(mkdir(changes, 0700));
    snprintf(path, sizeof path, "%s/upper", changes);
    NEED(mkdir(path, 0755));
    snprintf(path, sizeof path, "%s/work", changes);
    NEED(mkdir(path, 0700));
    make_groups(name);
    int pair[2], fds[8];
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    struct clone_args args = {.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, .exit_signal = SIGCHLD};
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0) die("clone3");
    if (pid == 0) child(pair[1]);
    const char *files[] = {"uid_map", "gid_map"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, files[i]);
        int file = open(path, O_WRONLY | O_CLOEXEC);
        NEED(write(file, "0 1073741824 65536\n", 19));
        close(file);
    }
    NEED(write(pair[0], "g", 1));
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    int userns = open(path, O_RDONLY | O_CLOEXEC);
    fds[0] = make_root(changes, userns);
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "/%s", devices[i]);
        fds[1 + i] = clone_tree(path);
    }
    send_fds(pair[0], fds, 7);
    for (int i = 0; i < 7; i++) close(fds[i]);
    int status;
    NEED(waitpid(pid, &status, 0));
    for (int i = 0; i < group_count; i++) {
        snprintf(path, sizeof path, "%s/%s", groups[i], name);
        NEED(rmdir(path));
    }
    snprintf(path, sizeof path, "%s/work/work", changes);
    rmdir(path);
    snprintf(path, sizeof path, "%s/work", changes);
    rmdir(path);
    snprintf(path, sizeof path, "%s/upper", changes);
    rmdir(path);
    rmdir(changes);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
