/* Takes the power from a mounted ext4: FS_IOC_SHUTDOWN without a flush of its journal. What was not
 * synced is gone at the next mount; until then every access fails with EIO. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int count, char **args) {
    uint32_t no_log_flush = 2;
    int directory = count == 2 ? open(args[1], O_RDONLY) : -1;
    if (directory < 0 || ioctl(directory, 0x8004587dUL, &no_log_flush) != 0) {
        perror("power cut");
        return 1;
    }
    return 0;
}
