// The least that a batch of random reads can cost: io_uring by its system calls, registered file and buffers, nothing else.
// usage: bare-loop FILE READS CHUNK_BYTES DEPTH BATCHES SEED [unregistered] -> one JSON line
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static unsigned *sq_tail, *sq_head, *cq_head, *cq_tail, cq_mask, sq_mask;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;
static int ring;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void open_ring(unsigned entries) {
  struct io_uring_params params;
  const unsigned ways[] = {(1u << 12) | (1u << 13), 0};  // SINGLE_ISSUER and DEFER_TASKRUN where the kernel has them
  for (int way = 0; way < 2; way++) {
    memset(&params, 0, sizeof params);
    params.flags = ways[way];
    ring = (int)syscall(__NR_io_uring_setup, entries, &params);
    if (ring >= 0) break;
  }
  if (ring < 0) die("io_uring_setup");
  size_t length = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  const size_t submit_length = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  if (submit_length > length) length = submit_length;
  char *rings = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  sqes = mmap(NULL, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
              IORING_OFF_SQES);
  if (rings == MAP_FAILED || (void *)sqes == MAP_FAILED) die("mmap");
  sq_head = (unsigned *)(rings + params.sq_off.head);
  sq_tail = (unsigned *)(rings + params.sq_off.tail);
  sq_mask = params.sq_entries - 1;
  cq_head = (unsigned *)(rings + params.cq_off.head);
  cq_tail = (unsigned *)(rings + params.cq_off.tail);
  cq_mask = *(unsigned *)(rings + params.cq_off.ring_mask);
  cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
  unsigned *array = (unsigned *)(rings + params.sq_off.array);
  for (unsigned index = 0; index <= sq_mask; index++) array[index] = index;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t draw(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static char *buffer;
static unsigned reads, chunk, depth, is_registered;
static uint64_t chunk_count, random_state;

static void prepare(unsigned read_index, unsigned tail) {
  struct io_uring_sqe *entry = &sqes[tail & sq_mask];
  memset(entry, 0, sizeof *entry);
  entry->opcode = is_registered ? IORING_OP_READ_FIXED : IORING_OP_READ;
  entry->flags = IOSQE_FIXED_FILE;
  entry->addr = (uintptr_t)(buffer + (size_t)read_index * chunk);
  entry->len = chunk;
  entry->off = draw(&random_state) % chunk_count * chunk;
}

/** One batch: submit, wait for all; a quarter of the depth is let land before more is submitted. */
static void run_batch(void) {
  unsigned prepared = 0, in_flight = 0, landed = 0;
  while (landed < reads) {
    unsigned tail = *sq_tail, fresh = 0;
    for (; prepared < reads && in_flight < depth; prepared++, in_flight++, fresh++) prepare(prepared, tail++);
    __atomic_store_n(sq_tail, tail, __ATOMIC_RELEASE);
    unsigned wanted = prepared < reads ? (depth + 3) / 4 : in_flight;
    if (syscall(__NR_io_uring_enter, ring, fresh, wanted, IORING_ENTER_GETEVENTS, NULL, 0) < 0) die("io_uring_enter");
    unsigned head = *cq_head;
    for (; head != __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE); head++, landed++, in_flight--) {
      if (cqes[head & cq_mask].res != (int)chunk) {
        fprintf(stderr, "a read returned %d\n", cqes[head & cq_mask].res);
        exit(1);
      }
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
}

int main(int count, char **arguments) {
  if (count < 7) return 2;
  reads = (unsigned)atoi(arguments[2]);
  chunk = (unsigned)atoi(arguments[3]);
  depth = (unsigned)atoi(arguments[4]);
  const unsigned batches = (unsigned)atoi(arguments[5]);
  random_state = (uint64_t)atoi(arguments[6]);
  is_registered = count < 8;
  int file = open(arguments[1], O_RDONLY | O_DIRECT);
  if (file < 0) die(arguments[1]);
  struct stat status;
  fstat(file, &status);
  chunk_count = (uint64_t)status.st_size / chunk;
  unsigned entries = 1;
  while (entries < depth) entries *= 2;
  open_ring(entries);
  struct iovec memory = {NULL, (size_t)reads * chunk};
  // Large pages, as the reader asks for: a request then has one segment.
  memory.iov_base = buffer = mmap(NULL, memory.iov_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(buffer, memory.iov_len, MADV_HUGEPAGE);
  memset(buffer, 0, memory.iov_len);
  if (is_registered && syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &memory, 1) < 0)
    die("registering the buffer");
  if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_FILES, &file, 1) < 0) die("registering the file");
  run_batch();
  const double cpu = cpu_seconds(), wall = wall_seconds();
  for (unsigned batch = 0; batch < batches; batch++) run_batch();
  printf("{\"cpuSeconds\":%.6f,\"wallSeconds\":%.6f,\"batches\":%u}\n", cpu_seconds() - cpu, wall_seconds() - wall, batches);
  return 0;
}
