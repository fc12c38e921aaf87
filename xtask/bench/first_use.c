/* Which functions of a program run, in the order of their first use: a breakpoint stands at
 * each of them until it is reached, in the program and in its children until those execute
 * something else.
 *
 * first_use SYMBOLS PROGRAM ARGUMENTS…
 *
 * SYMBOLS is the output of `nm --numeric-sort` of the program, which is not relocated; looked
 * at are functions of Rust. Their names go to descriptor 3, one a line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct symbol {
    unsigned long address;
    char *name;
    unsigned char byte;
};

static struct symbol *symbols;
static size_t count;
static const unsigned char trap = 0xcc;

static void read_symbols(const char *path) {
    FILE *file = fopen(path, "r");
    char line[8192], name[8000], kind;
    unsigned long address;
    size_t room = 0;
    if (!file)
        exit(125);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx %c %7999s", &address, &kind, name) != 3 || !strchr("tTwW", kind))
            continue;
        if (strncmp(name, "_ZN", 3) && strncmp(name, "_R", 2))
            continue;
        if (count == room)
            symbols = realloc(symbols, (room = room * 2 + 1024) * sizeof *symbols);
        symbols[count++] = (struct symbol){address, strdup(name), 0};
    }
    fclose(file);
}

static int open_memory(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    return open(path, O_RDWR);
}

static void set_all(pid_t pid) {
    int memory = open_memory(pid);
    for (size_t at = 0; at < count; at++)
        if (pread(memory, &symbols[at].byte, 1, symbols[at].address) != 1)
            exit(125);
    for (size_t at = 0; at < count; at++)
        if (pwrite(memory, &trap, 1, symbols[at].address) != 1)
            exit(125);
    close(memory);
}

/* The first of the functions at an address; several where the linker made one of them. */
static size_t find(unsigned long address) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (symbols[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A breakpoint was reached: it goes, and the program runs on from there. */
static void reach(pid_t pid, FILE *out) {
    struct user_regs_struct registers;
    size_t at;
    int memory;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers))
        return;
    at = find(registers.rip - 1);
    if (at == count || symbols[at].address != registers.rip - 1)
        return;
    memory = open_memory(pid);
    pwrite(memory, &symbols[at].byte, 1, symbols[at].address);
    close(memory);
    registers.rip--;
    ptrace(PTRACE_SETREGS, pid, 0, &registers);
    for (; at < count && symbols[at].address == registers.rip; at++)
        fprintf(out, "%s\n", symbols[at].name);
}

int main(int argc, char **argv) {
    FILE *out = fdopen(3, "w");
    int status, begun = 0, code = 125;
    pid_t first, pid;
    long wanted = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (argc < 3 || !out)
        return 125;
    read_symbols(argv[1]);
    first = fork();
    if (first == 0) {
        close(3);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0, wanted);
    ptrace(PTRACE_CONT, first, 0, 0);
    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        int signal = 0;
        if (pid <= 0)
            continue;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == first)
                code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8))) {
            if (begun++) {
                ptrace(PTRACE_DETACH, pid, 0, 0);
                continue;
            }
            set_all(pid);
        } else if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) {
            reach(pid, out);
        } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP) {
            signal = WSTOPSIG(status);
        }
        ptrace(PTRACE_CONT, pid, 0, signal);
    }
    fclose(out);
    return code;
}
