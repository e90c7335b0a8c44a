/* The floor of a tick-to-order time: a client that does nothing but wait, read, and write.
 *
 * usage: tick_echo PORT TICK_BYTES ORDER_BYTES spin|sleep
 * Answers every frame of TICK_BYTES with ORDER_BYTES, ignores the short ones. Linux only.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536 };

int
main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    int tick_bytes = atoi(argv[2]), order_bytes = atoi(argv[3]);
    int is_spinning = strcmp(argv[4], "spin") == 0;
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof there) != 0) {
        return 3;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    static unsigned char in[BUFFER_BYTES], order[BUFFER_BYTES];
    memset(order, ' ', sizeof order);
    order[0] = 0x81;
    order[1] = 0x80 | 126;
    order[2] = (unsigned char)((order_bytes - 8) >> 8);
    order[3] = (unsigned char)(order_bytes - 8);
    memset(order + 4, 0, 4);
    int poll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    int have = 0;
    for (;;) {
        if (epoll_wait(poll_fd, &event, 1, is_spinning ? 0 : -1) < 1) {
            continue;
        }
        ssize_t got = read(fd, in + have, (size_t)(BUFFER_BYTES - have));
        if (got <= 0) {
            return 0;
        }
        have += (int)got;
        while (have >= 2) {
            int length = in[1] & 127, head = 2;
            if (length == 126) {
                if (have < 4) {
                    break;
                }
                length = in[2] << 8 | in[3];
                head = 4;
            }
            if (have < head + length) {
                break;
            }
            if (head + length == tick_bytes && write(fd, order, (size_t)order_bytes) != order_bytes) {
                return 4;
            }
            have -= head + length;
            memmove(in, in + head + length, (size_t)have);
        }
    }
}
