/* Faults of disk and clock below an unmodified process: fsync that fails or stalls, a wall clock
 * that jumps, a disk that forgets what was not synced. Loaded with LD_PRELOAD; CHAOS_CONTROL names a file of six 64-bit words that the
 * harness writes and reads: clock offset in ns, errno of fsync (0: none), stall of fsync in ms;
 * then the counters of effects: failed syncs, stalled syncs, shifted clock readings. */
#define _LARGEFILE64_SOURCE
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *control;

__attribute__((constructor)) static void chaos_open(void) {
    const char *path = getenv("CHAOS_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, 48, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close(file);
}

static int sync_with_faults(long number, int file) {
    if (control && control[2]) {
        struct timespec stall = {control[2] / 1000, control[2] % 1000 * 1000000};
        __sync_fetch_and_add(&control[4], 1);
        nanosleep(&stall, 0);
    }
    if (control && control[1]) {
        __sync_fetch_and_add(&control[3], 1);
        errno = (int)control[1];
        return -1;
    }
    return (int)syscall(number, file);
}

int fsync(int file) { return sync_with_faults(SYS_fsync, file); }
int fdatasync(int file) { return sync_with_faults(SYS_fdatasync, file); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real ? real(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    int64_t offset = control ? control[0] : 0;
    if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t at = now->tv_sec * 1000000000LL + now->tv_nsec + offset;
        now->tv_sec = at / 1000000000LL;
        now->tv_nsec = at % 1000000000LL;
        __sync_fetch_and_add(&control[5], 1);
    }
    return result;
}

/* O_DIRECT bypasses the page cache, not the cache of a disk: until a sync, a power cut may lose what
 * was written. The disks of the harness are files, which have no such cache and would keep it all, so
 * here these writes stay in the page cache, of which a cut keeps what was synced. */
static int open_through_cache(const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags & ~O_DIRECT, mode);
}

#define OPEN(name, large)                                             \
    int name(const char *path, int flags, ...) {                      \
        mode_t mode = 0;                                              \
        if (flags & (O_CREAT | __O_TMPFILE)) {                        \
            va_list rest;                                             \
            va_start(rest, flags);                                    \
            mode = va_arg(rest, mode_t);                              \
            va_end(rest);                                             \
        }                                                             \
        return open_through_cache(path, flags | (large), mode);       \
    }

OPEN(open, 0)
OPEN(open64, O_LARGEFILE)
