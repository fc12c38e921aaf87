/* Which functions of a program run, in the order of their first use: executes it step by
 * step with its children (until those execute something else).
 *
 * steps SYMBOLS PROGRAM ARGUMENTS…
 *
 * SYMBOLS is the output of `nm --numeric-sort` of the program, which is not relocated. The
 * names go to descriptor 3, one a line.
 */
#define _GNU_SOURCE
#include <errno.h>
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
    int used;
};

static struct symbol *symbols;
static size_t count;

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
        if (count == room)
            symbols = realloc(symbols, (room = room * 2 + 1024) * sizeof *symbols);
        symbols[count++] = (struct symbol){address, strdup(name), 0};
    }
    fclose(file);
}

/* Names the function at an address if it is used for the first time. */
static void use(unsigned long address, FILE *out) {
    static size_t last;
    size_t low = 0, high = count;
    if (last + 1 < count && symbols[last].address <= address && address < symbols[last + 1].address)
        return;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (symbols[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || low == count)
        return;
    last = low - 1;
    /* Functions that were folded into one have several names: all of them. */
    for (size_t same = last + 1; same-- > 0 && symbols[same].address == symbols[last].address;)
        if (!symbols[same].used) {
            symbols[same].used = 1;
            fprintf(out, "%s\n", symbols[same].name);
        }
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
        } else if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) {
            struct user_regs_struct registers;
            if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0)
                use(registers.rip, out);
        } else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP) {
            signal = WSTOPSIG(status);
        }
        ptrace(PTRACE_SINGLESTEP, pid, 0, signal);
    }
    fclose(out);
    return code;
}
