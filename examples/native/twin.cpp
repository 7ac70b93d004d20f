// A server loop whose memory behaves as planned: every kind of block has its own allocating function, a Poisson
// arrival rate and a known distribution of lifetimes, and at the end the program prints its own books. A leak hunter
// is right if it calls leaks what the books call planted, and nothing else.
//
//     g++ -std=c++17 -O2 -g -fno-omit-frame-pointer -pthread -o twin twin.cpp
//
// One file, so that a test needs one call of the compiler. All times follow from one number, --age: the age A that
// the leak hunter is asked about. Watch for 4 A or more.
//
// Draws depend on seed, worker and kind only, and time is counted in ticks. The same flags with the same number of
// ticks (--for) therefore give the same books, however busy the machine is.

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <limits>
#include <mutex>
#include <queue>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// ---- Allocating functions: one per kind, the names that a report must show ---------------------------------------

// Never inlined or cloned; and none ends in a call, so each keeps its frame while it allocates.
#if defined(__clang__)
#define SITE extern "C" __attribute__((noinline))
#else
#define SITE extern "C" __attribute__((noipa))
#endif

// Writes to the last byte, so that the allocation cannot be left out and is not the function's last act. The first
// bytes of an object are its virtual table.
inline void *touched(void *block, size_t bytes) {
  if (block == nullptr) std::abort();
  static_cast<volatile char *>(block)[bytes - 1] = 1;
  return block;
}

// A class with a virtual destructor: allocated by operator new, freed by delete.
struct Projectile {
  virtual ~Projectile() = default;
  double position[3] = {0, 0, 0}, velocity[3] = {1, 0, 0};
  char trail[128] = {};
};

SITE void *leak_pure(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *leak_mixed(size_t bytes) { return touched(std::malloc(bytes), bytes); }
// Two levels: most libstdc++ have no frame pointer in `operator new`, so a walk along frame pointers passes over its
// caller. That is `make_projectile`; `leak_new` is seen either way.
SITE Projectile *make_projectile() { return static_cast<Projectile *>(touched(new Projectile, sizeof(Projectile))); }
SITE void *leak_new(size_t bytes) { return touched(make_projectile(), bytes); }
SITE void *session_exp(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *session_lognormal(size_t bytes) { return touched(std::calloc(1, bytes), bytes); }
SITE void *ttl_cache(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *lru_cache(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *startup_tables(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *fills_then_stops(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *churn(size_t bytes) { return touched(std::malloc(bytes), bytes); }
SITE void *long_ttl(size_t bytes) { return touched(std::malloc(bytes), bytes); }

// ---- Kinds: how often, how big, how long -------------------------------------------------------------------------

const double kForever = std::numeric_limits<double>::infinity();

// One stream of draws. The distributions are written out: the library's differ between implementations.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t worker, uint64_t kind) {
    std::seed_seq sequence{seed & 0xffffffff, seed >> 32, worker, kind};
    engine_.seed(sequence);
  }
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }  // [0, 1)
  double exponential(double mean) { return -mean * std::log1p(-uniform()); }
  double lognormal(double median, double sigma) {
    double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
    return median * std::exp(sigma * radius * std::cos(2.0 * M_PI * uniform()));
  }

 private:
  std::mt19937_64 engine_;
};

struct Kind {
  const char *name;  // of the kind, and of its allocating function
  void *(*allocate)(size_t);
  size_t bytes;
  double per_age;       // arrivals per A, or
  double per_s;         // arrivals per second
  double until_ages;    // no arrivals later than this many A
  size_t at_start;      // allocated before the first tick
  size_t keep;          // bounded to so many, the oldest is evicted; 0: not bounded
  double (*life_ages)(Draws &, double tick_ages);  // when honest, in A
  double leak_share;    // of the blocks, when planted
};

// Every leak that is off frees like a session, so that its function has a healthy twin.
double healthy(Draws &draws, double) { return draws.exponential(0.3); }

const Kind kKinds[] = {
    // name, function, bytes, per_age, per_s, until, at_start, keep, life, leak_share
    {"leak_pure", leak_pure, 256, 300, 0, kForever, 0, 0, healthy, 1.0},
    // A busy site of temporary buffers; one in a hundred is forgotten.
    {"leak_mixed", leak_mixed, 512, 10000, 0, kForever, 0, 0,
     [](Draws &draws, double) { return draws.exponential(0.02); }, 0.01},
    {"leak_new", leak_new, sizeof(Projectile), 300, 0, kForever, 0, 0, healthy, 1.0},
    {"session_exp", session_exp, 1024, 400, 0, kForever, 0, 0,
     [](Draws &draws, double) { return draws.exponential(0.8); }, 0},
    {"session_lognormal", session_lognormal, 768, 400, 0, kForever, 0, 0,
     [](Draws &draws, double) { return draws.lognormal(0.5, 1.0); }, 0},
    {"ttl_cache", ttl_cache, 640, 300, 0, kForever, 0, 0, [](Draws &, double) { return 0.66; }, 0},
    {"lru_cache", lru_cache, 384, 300, 0, kForever, 0, 210, nullptr, 0},  // 210 of 300 per A: about 0.7 A each
    {"startup_tables", startup_tables, 4096, 0, 0, 0, 256, 0, [](Draws &, double) { return kForever; }, 0},
    {"fills_then_stops", fills_then_stops, 2048, 200, 0, 1.5, 0, 0, [](Draws &, double) { return kForever; }, 0},
    // Some die in the tick they were born in, the others within the next two.
    {"churn", churn, 128, 0, 4000, kForever, 0, 0,
     [](Draws &draws, double tick_ages) { return 3.0 * tick_ages * draws.uniform(); }, 0},
    {"long_ttl", long_ttl, 320, 300, 0, kForever, 0, 0, [](Draws &, double) { return 1.5; }, 0},
};
constexpr size_t kKindCount = sizeof(kKinds) / sizeof(kKinds[0]);

// ---- Options -----------------------------------------------------------------------------------------------------

struct Options {
  double age_s = 2.0;
  double run_s = std::numeric_limits<double>::infinity();
  double tick_hz = 250.0;
  double rate = 1.0;
  int workers = 3;
  uint64_t seed = 1;
  std::string leaks = "all";
  bool planted[kKindCount] = {};
  bool wait = false, hold = false, unpaced = false;
};

const char *const kHelp =
    "Usage: twin [OPTIONS]\n"
    "  --age SECONDS   the age A that everything is relative to          [2]\n"
    "  --for SECONDS   end by itself; without it, at quit or a signal    [forever]\n"
    "  --seed N        seed of every draw                                [1]\n"
    "  --leaks WHICH   all, none, or a list: leak_pure,leak_mixed,leak_new\n"
    "                  a leak that is off allocates as before, and frees [all]\n"
    "  --rate F        factor on every arrival rate                      [1]\n"
    "  --workers N     threads; every fourth block is freed by another   [3]\n"
    "  --tick-hz N     turns of the loop per second                      [250]\n"
    "  --wait          start when stdin says `go`; end of stdin is quit\n"
    "  --hold          when the time is up, print the books and wait for quit\n"
    "  --unpaced       do not sleep between ticks: the whole plan at once\n"
    "stdout: `pid N`, `READY`, and at the end one line of JSON, the books.\n"
    "stdin:  `go`, `quit`. SIGTERM and SIGINT quit too.\n";

[[noreturn]] void usage_error(const std::string &what) {
  std::fprintf(stderr, "twin: %s\n%s", what.c_str(), kHelp);
  std::exit(2);
}

// A number from 0 to `most`.
double number(const std::string &flag, const char *text, double most = 1e15) {
  char *end = nullptr;
  double value = std::strtod(text, &end);
  bool fits = end != text && *end == '\0' && value >= 0 && value <= most;
  if (!fits) usage_error(flag + " wants a number from 0 to " + std::to_string(static_cast<int64_t>(most)));
  return value;
}

// Marks the kinds that `options.leaks` names.
void plant(Options &options) {
  std::istringstream names(options.leaks);
  for (std::string name; options.leaks != "none" && std::getline(names, name, ',');) {
    bool known = false;
    for (size_t k = 0; k < kKindCount; k++) {
      if (kKinds[k].leak_share == 0 || (name != "all" && name != kKinds[k].name)) continue;
      options.planted[k] = known = true;
    }
    if (!known) usage_error("--leaks: no such leak: " + name);
  }
}

Options parse(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    std::string flag = argv[i];
    auto value = [&]() -> const char * {
      if (i + 1 >= argc) usage_error(flag + " wants a value");
      return argv[++i];
    };
    if (flag == "--age") options.age_s = number(flag, value());
    else if (flag == "--for") options.run_s = number(flag, value());
    else if (flag == "--seed") options.seed = static_cast<uint64_t>(number(flag, value()));
    else if (flag == "--leaks") options.leaks = value();
    else if (flag == "--rate") options.rate = number(flag, value());
    else if (flag == "--workers") options.workers = static_cast<int>(number(flag, value(), 64));
    else if (flag == "--tick-hz") options.tick_hz = number(flag, value());
    else if (flag == "--wait") options.wait = true;
    else if (flag == "--hold") options.hold = true;
    else if (flag == "--unpaced") options.unpaced = true;
    else if (flag == "--help") { std::fputs(kHelp, stdout); std::exit(0); }
    else usage_error("no such flag: " + flag);
  }
  if (options.age_s <= 0 || options.tick_hz <= 0) usage_error("--age and --tick-hz must be more than 0");
  if (options.workers < 1) usage_error("--workers must be at least 1");
  if (options.unpaced && !std::isfinite(options.run_s)) usage_error("--unpaced wants --for");
  plant(options);
  return options;
}

// ---- One worker --------------------------------------------------------------------------------------------------

struct Block {
  double expires_s;
  uint64_t number;  // ties are broken by age, so that the order of frees is planned too
  size_t kind;
  void *memory;
  bool operator>(const Block &other) const {
    return expires_s != other.expires_s ? expires_s > other.expires_s : number > other.number;
  }
};

struct Count {
  uint64_t allocs = 0, frees = 0;
};

class Worker {
 public:
  Worker(const Options &options, int index) : options_(options) {
    for (size_t k = 0; k < kKindCount; k++) {
      draws_.emplace_back(options.seed, index, k);
      double per_s = (kKinds[k].per_age / options.age_s + kKinds[k].per_s) * options.rate / options.workers;
      gap_s_.push_back(per_s > 0 ? 1.0 / per_s : kForever);
      next_s_.push_back(per_s > 0 ? draws_[k].exponential(gap_s_[k]) : kForever);
      keep_.push_back(share(kKinds[k].keep, index));
      for (size_t n = share(kKinds[k].at_start, index); n > 0; n--) starters_.push_back(k);
    }
  }

  void befriend(Worker *neighbour) { neighbour_ = neighbour; }

  // Lives until `ticks` have passed or `stop` is set.
  void run(uint64_t ticks, std::chrono::steady_clock::time_point start, const std::atomic<bool> &stop) {
    for (size_t kind : starters_) arrive(kind, 0);
    for (uint64_t tick = 1; tick <= ticks && !stop.load(std::memory_order_relaxed); tick++) {
      double now_s = static_cast<double>(tick) / options_.tick_hz;
      if (!options_.unpaced) std::this_thread::sleep_until(start + std::chrono::duration<double>(now_s));
      turn(now_s);
    }
  }

  // Frees what neighbours have handed over.
  void empty_mailbox() {
    std::vector<Block> mail;
    {
      std::lock_guard<std::mutex> guard(mailbox_lock_);
      mail.swap(mailbox_);
    }
    for (const Block &block : mail) release(block);
  }

  const Count &count(size_t kind) const { return counts_[kind]; }

 private:
  // This worker's part of a number of things; the parts of all workers add up.
  size_t share(size_t total, int index) const {
    size_t workers = static_cast<size_t>(options_.workers), i = static_cast<size_t>(index);
    return total * (i + 1) / workers - total * i / workers;
  }

  // One tick: what arrives until now, then what expires until now.
  void turn(double now_s) {
    empty_mailbox();
    for (size_t k = 0; k < kKindCount; k++) {
      for (; next_s_[k] <= now_s; next_s_[k] += draws_[k].exponential(gap_s_[k])) {
        if (next_s_[k] <= kKinds[k].until_ages * options_.age_s) arrive(k, next_s_[k]);
      }
    }
    while (!expiring_.empty() && expiring_.top().expires_s <= now_s) {
      retire(expiring_.top());
      expiring_.pop();
    }
  }

  void arrive(size_t k, double born_s) {
    const Kind &kind = kKinds[k];
    Block block{kForever, numbers_++, k, kind.allocate(kind.bytes)};
    counts_[k].allocs++;
    if (kind.keep > 0) {
      bounded_.push_back(block);
      if (bounded_.size() > keep_[k]) {
        retire(bounded_.front());
        bounded_.pop_front();
      }
      return;
    }
    bool forgotten = options_.planted[k] && draws_[k].uniform() < kind.leak_share;
    double tick_ages = 1.0 / options_.tick_hz / options_.age_s;
    if (!forgotten) block.expires_s = born_s + kind.life_ages(draws_[k], tick_ages) * options_.age_s;
    if (std::isfinite(block.expires_s)) expiring_.push(block);
  }

  // Frees a block, or has a neighbour do it: real servers free on other threads.
  void retire(const Block &block) {
    if (block.number % 4 != 0 || neighbour_ == nullptr) return release(block);
    std::lock_guard<std::mutex> guard(neighbour_->mailbox_lock_);
    neighbour_->mailbox_.push_back(block);
  }

  void release(const Block &block) {
    if (kKinds[block.kind].allocate == leak_new) delete static_cast<Projectile *>(block.memory);
    else std::free(block.memory);
    counts_[block.kind].frees++;
  }

  const Options &options_;
  std::vector<Draws> draws_;
  std::vector<double> gap_s_, next_s_;
  std::vector<size_t> keep_, starters_;
  std::priority_queue<Block, std::vector<Block>, std::greater<Block>> expiring_;
  std::deque<Block> bounded_;  // of the one bounded kind
  uint64_t numbers_ = 0;
  Count counts_[kKindCount];
  Worker *neighbour_ = nullptr;
  std::mutex mailbox_lock_;
  std::vector<Block> mailbox_;
};

// ---- The main thread: stdin, signals, books ----------------------------------------------------------------------

// Every source of a start or a stop: standard input and signals.
class Orders {
 public:
  enum class Order { kGo, kQuit, kNone };

  // Before any thread starts, so that no thread takes the signals.
  explicit Orders(bool eof_quits) : eof_quits_(eof_quits) {
    sigset_t quits;
    sigemptyset(&quits);
    sigaddset(&quits, SIGTERM);
    sigaddset(&quits, SIGINT);
    pthread_sigmask(SIG_BLOCK, &quits, nullptr);
    signals_ = signalfd(-1, &quits, SFD_CLOEXEC);
    if (signals_ < 0) std::abort();
  }

  // The next order, or none after `timeout_ms` (-1: no limit).
  Order next(int timeout_ms) {
    for (;;) {
      pollfd watched[] = {{signals_, POLLIN, 0}, {stdin_open_ ? STDIN_FILENO : -1, POLLIN, 0}};
      int ready = poll(watched, 2, timeout_ms);
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) return Order::kNone;
      if (watched[0].revents != 0) return Order::kQuit;
      char typed;  // byte by byte: orders are short and few
      if (read(STDIN_FILENO, &typed, 1) != 1) {
        stdin_open_ = false;
        if (eof_quits_) return Order::kQuit;
      } else if (typed != '\n') {
        line_ += typed;
      } else {
        std::string line = std::exchange(line_, "");
        if (line == "go") return Order::kGo;
        if (line == "quit") return Order::kQuit;
      }
    }
  }

 private:
  bool eof_quits_;
  bool stdin_open_ = true;
  int signals_ = -1;
  std::string line_;
};

void print_books(const Options &options, const std::deque<Worker> &workers) {
  std::printf("{\"age_s\":%g,\"seed\":%" PRIu64 ",\"kinds\":[", options.age_s, options.seed);
  for (size_t k = 0; k < kKindCount; k++) {
    Count sum;
    for (const Worker &worker : workers) {
      sum.allocs += worker.count(k).allocs;
      sum.frees += worker.count(k).frees;
    }
    uint64_t live = sum.allocs - sum.frees;
    std::printf("%s{\"kind\":\"%s\",\"function\":\"%s\",\"planted\":%s,\"block_bytes\":%zu,\"allocs\":%" PRIu64
                ",\"frees\":%" PRIu64 ",\"live\":%" PRIu64 ",\"live_bytes\":%" PRIu64 "}",
                k == 0 ? "" : ",", kKinds[k].name, kKinds[k].name, options.planted[k] ? "true" : "false",
                kKinds[k].bytes, sum.allocs, sum.frees, live, live * kKinds[k].bytes);
  }
  std::printf("]}\n");
  std::fflush(stdout);
}

int main(int argc, char **argv) {
  using Order = Orders::Order;
  const Options options = parse(argc, argv);
  Orders orders(options.wait);
  std::printf("pid %d\nREADY\n", static_cast<int>(getpid()));
  std::fflush(stdout);
  if (options.wait && orders.next(-1) != Order::kGo) return 0;

  std::deque<Worker> workers;  // a deque: workers point at each other
  for (int i = 0; i < options.workers; i++) workers.emplace_back(options, i);
  for (size_t i = 0; workers.size() > 1 && i < workers.size(); i++) {
    workers[i].befriend(&workers[(i + 1) % workers.size()]);
  }
  double planned = std::min(options.run_s * options.tick_hz, 1e18);
  std::atomic<bool> stop{false};
  std::atomic<size_t> running{workers.size()};
  std::vector<std::thread> threads;
  auto start = std::chrono::steady_clock::now();
  for (Worker &worker : workers) {
    threads.emplace_back([&, ticks = static_cast<uint64_t>(planned)] {
      worker.run(ticks, start, stop);
      running--;
    });
  }
  bool quit = false;
  while (!quit && running > 0) quit = orders.next(20) == Order::kQuit;
  stop = true;
  for (std::thread &thread : threads) thread.join();
  for (Worker &worker : workers) worker.empty_mailbox();  // only now has everybody posted everything
  print_books(options, workers);
  while (options.hold && !quit) quit = orders.next(-1) == Order::kQuit;
  return 0;
}
