-- SPDX-License-Identifier: MIT
-- Real programs, learned from and then held to what was learned: they do the same. The host's own programs run, in a
-- root of their own, with a directory /work that is prepared anew for each run.
local assert = require("luassert")
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local learned = {}

local PATH <const> = "/usr/bin:/bin:/usr/sbin:/sbin"

--- The programs: `needs` says which the host has to have, `setup` prepares /work from outside, `run` is a script in
-- there. Those that are `quick` are part of every test.
learned.programs = {
  { name = "a pipeline", quick = true, needs = "sort uniq awk sed tr", run = [[
    printf 'b\na\nb\n' | tee /tmp/all | sort | uniq -c | awk '{ print $2, $1 }' | sed s/b/c/ | tr a-z A-Z
    cat /tmp/all]] },
  { name = "mv between directories", quick = true,
    setup = "mkdir -p in/d out; echo x > in/f; echo y > in/d/g; echo z > out/h; ln -s f in/link", run = [[
    echo w >> out/h; mv in/f in/d in/link out/ && cat out/f out/d/g out/link out/h
    mkdir in/e && mv in/e out/ && echo v > out/e/i; mv out/h in/ && cat in/h && ls -R]] },
  { name = "cp -l and ln between directories", quick = true,
    setup = "mkdir in out; echo x > in/f; echo y > in/g", run = [[
    echo z > out/own; cp -rl in out/copy; ln in/g out/g; cat out/copy/f out/g out/own; ls in out out/copy]] },
  { name = "names like patterns", quick = true, setup = [==[
    mkdir 'd*' '[d]'; echo a > 'd*/*'; echo b > 'd*/[*]'; echo c > '[d]/?'; printf d > 'q"\
'; echo g > 'g (deleted)']==], run = [==[
    cat 'g (deleted)'; cat 'd*/*' 'd*/[*]' '[d]/?' q*; echo e > 'd*/[[*]]'; mv '[d]/?' 'd*/'; ls 'd*' '[d]']==] },
  { name = "many names, used as directories", quick = true, run = [[
    for i in 1 2 3 4 5 6 7 8 9; do mkdir d$i; mkdir d$i/e; echo $i > d$i/e/f; done
    cat d*/e/f; mv d1/e/f d2/e/g; cd d3/e && cat f && cd ../.. && rm d4/e/f && rmdir d4/e d4 && ls d2/e]] },
  { name = "git, with a repository of its own", needs = "git", quick = true, run = [[
    export HOME=/tmp GIT_AUTHOR_DATE=2001-01-01T00:00:00Z GIT_COMMITTER_DATE=2001-01-01T00:00:00Z
    git config --global user.email a@b; git config --global user.name a
    git init -q -b main repo && cd repo && seq 99 > f && mkdir d && echo g > d/g && sleep 0.1 || exit
    git add . && git commit -qm one && sleep 0.1 && seq 50 > f && git add f && git commit -qm two || exit
    cd .. && git clone -q repo clone && cd clone && git log --format=%s && git status --short && cat d/g &&
    git checkout -q -b more && git mv f d/f && git commit -qm three && git push -q origin more && git fsck]] },
  { name = "git, which clones a repository that is there", needs = "git", setup = [[
    git init -q -b main repo; cd repo; for i in $(seq 20); do mkdir d$i; echo $i > d$i/f; done
    git add .; git -c user.name=a -c user.email=a@b commit -qm one]], run = [[
    export HOME=/tmp; git config --global --add safe.directory '*'
    git clone -q repo clone && cat clone/d*/f && git clone -q --bare --no-hardlinks repo bare && ls bare]] },
  { name = "tar, there and back", needs = "tar gzip", setup = [[
    mkdir -p in/a/b; for i in $(seq 30); do echo $i > in/$i; done
    ln -s 1 in/link; ln in/2 in/hard; mkfifo in/fifo; touch -d @1 in/3]], run = [[
    tar czf in.tgz in && mkdir out && tar xzf in.tgz -C out && ls -R out && cat out/in/[0-9]* && rm -r out]] },
  { name = "gcc, and what it makes", needs = "gcc", setup = [[
    printf '#include <stdio.h>\nint main(void) { puts("hi"); return 7; }\n' > a.c]], run = [[
    gcc -O1 -o a a.c && ./a; echo $?; gcc -c a.c && ls]] },
  { name = "archives, and a shared library", needs = "gcc ar strip install", setup = [[
    echo 'int f(void) { return 3; }' > f.c; echo 'int f(void); int main(void) { return f(); }' > main.c]], run = [[
    gcc -c f.c && ar rc libf.a f.o && gcc main.c libf.a -o s && ./s; echo $?
    gcc -shared -fPIC f.c -o libg.so && gcc main.c -L. -lg -o g && LD_LIBRARY_PATH=. ./g; echo $?
    strip g; install -m 755 g h; ls]] },
  { name = "make", needs = "make gcc", setup = [[
    for i in $(seq 12); do echo "int f$i(void) { return $i; }" > f$i.c; done
    echo 'int f7(void); int main(void) { return f7(); }' > main.c
    printf 'p: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tcc -o $@ $^\n' > Makefile]], run = [[
    make -s -j2 && ./p; echo $?; make -q; echo $?; touch f3.c; make; ls]] },
  { name = "python", needs = "python3", run = [[python3 -Bc '
import os, tempfile, subprocess, json, shutil
with tempfile.TemporaryDirectory() as d:
  for i in range(20):
    with tempfile.NamedTemporaryFile(dir=d, delete=False) as f: f.write(b"x" * i); f.truncate(i)
  os.mkdir(d + "/sub"); shutil.move(f.name, d + "/sub/moved"); print(len(os.listdir(d)))
with tempfile.TemporaryFile() as f: f.write(b"abc"); f.truncate(2); f.seek(0); print(f.read())
print(subprocess.check_output(["cat", "/etc/passwd"]) != b"", json.dumps({"a": 1}))']] },
  { name = "perl", needs = "perl", run = [[perl -e '
use File::Temp "tempfile"; use File::Copy; ($f, $n) = tempfile(UNLINK => 1); print $f "x\n"; close $f;
mkdir "d"; copy($n, "d/a"); move("d/a", "b"); open F, "<", "b"; print <F>; print `echo sub`;
truncate "b", 1; print -s "b", "\n"; unlink "b"; rmdir "d"; print -e "d" ? 1 : 0, "\n"']] },
  { name = "lua", needs = "lua5.4", run = [[lua5.4 -e '
local n = os.tmpname() local f = io.open(n, "w") f:write("x\n") f:close() os.rename(n, "/tmp/y")
print(io.open("/tmp/y"):read("a"), os.remove("/tmp/y"), os.rename("/tmp/none", "y"), io.popen("echo z"):read("a"))']] },
  { name = "sort with temporary files", needs = "sort seq", run = [[
    mkdir t; seq 200000 | sort -r -S 200K --parallel=1 -T t | head -3; ls t
    seq 9 | sort -R --random-source=/dev/zero -o o && wc -l < o]] },
  { name = "cp -r, rm -r, find", needs = "find",
    setup = "mkdir -p in/a/b/c; for i in $(seq 40); do echo $i > in/a/$i; done", run = [[
    cp -rp in out && find out -type f | wc -l && find out -name '1*' -delete && rm -r out/a/b && ls -R out &&
    rm -rf in && cp -r out in && cat in/a/2]] },
  { name = "patch, diff and changes in place", needs = "diff sed perl", setup = "seq 9 > a; sed s/5/x/ a > b", run = [[
    diff -u a b > p; sed -i s/3/y/ a; perl -pi -e s/7/z/ a b; cat a b; cmp a b; ls; wc -l < p]] },
  { name = "awk, xargs, tee and split", needs = "awk xargs split", run = [[
    seq 100 | split -l 7 - part.; ls part.* | xargs -n 3 cat |
    awk '{ s += $1; print > "n" NR % 12 } END { print s }' | tee sum; cat sum n* | sort -n | tail -1]] },
  { name = "sqlite3", needs = "sqlite3", run = [[
    for mode in delete wal truncate; do sqlite3 $mode.db "pragma journal_mode=$mode; create table t(a);
      insert into t values(1),(2); begin; update t set a=a+1; commit; vacuum; select * from t;"; done; ls]] },
  { name = "a server on a port of its own, and one that the kernel chooses", needs = "python3",
    notes = { "bind", "connect" }, run = [[python3 -Bc '
import socket, threading
def serve(port):
  s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", port)); s.listen()
  def answer():
    c, peer = s.accept(); c.sendall(b"hi %d" % (peer[1] > 1023)); c.close(); s.close()
  t = threading.Thread(target=answer); t.start()
  c = socket.create_connection(s.getsockname()); print(c.recv(9)); c.close(); t.join()
serve(8080); serve(0)
s = socket.socket(); s.bind(("127.0.0.1", 0)); p = s.getsockname()[1]; s.close()
s = socket.socket(); s.bind(("127.0.0.1", p)); print(s.getsockname()[1] == p)']] },
  { name = "sockets, fifos and links by name", needs = "python3", run = [[mkdir s; mkfifo s/fifo; (echo x > s/fifo &)
cat s/fifo; ln -s fifo s/link; mv s/link s/fifo .; ls . s; python3 -Bc '
import socket, os
for name in ["s/one", "s/*"]:
  a = socket.socket(socket.AF_UNIX); a.bind(name); a.listen(); b = socket.socket(socket.AF_UNIX); b.connect(name)
  os.rename(name, "moved"); print(os.listdir("s")); os.unlink("moved")']] },
  { name = "files without a name", needs = "python3", setup = "mkdir in out; echo x > in/f", run = [[python3 -Bc '
import os, ctypes
linkat = ctypes.CDLL(None, use_errno=True).linkat
for there in ["in", "out", "."]:
  for how in ["/proc/self/fd/%d", "/proc/" + str(os.getpid()) + "/fd/%d", ""]:
    fd = os.open("in", os.O_TMPFILE | os.O_RDWR); os.write(fd, b"abc"); os.ftruncate(fd, 2)
    name = (there + "/new").encode()
    print(linkat(-100, (how % fd).encode(), -100, name, 0x400) if how else linkat(fd, b"", -100, name, 0x1000))
    if os.path.exists(name): print(open(name).read()); os.unlink(name)
    os.close(fd)
fd = os.open("in/gone", os.O_CREAT | os.O_RDWR); os.unlink("in/gone"); os.write(fd, b"abc"); os.ftruncate(fd, 1)
print(open("/proc/self/fd/%d" % fd).read())']] },
  { name = "a terminal's ioctl", needs = "python3", run = [[python3 -Bc '
import os, pty, fcntl, termios, struct
m, s = pty.openpty(); fcntl.ioctl(s, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 6, 0, 0))
print(struct.unpack("HHHH", fcntl.ioctl(m, termios.TIOCGWINSZ, b"\0" * 8)), os.isatty(s))']] },
}

--- Which of the programs that one needs the host lacks; nil: none.
function learned.lacks(program)
  for name in (program.needs or ""):gmatch("%S+") do
    if os.execute(("PATH=%s; command -v %s > /dev/null"):format(PATH, name)) ~= true then
      return name
    end
  end
end

local function run(program, fields)
  local work = helper.tmpdir()
  assert(os.execute(("cd '%s' && umask 022 && { %s\n}"):format(work, program.setup or ":")))
  posix.chmod(work, "rwxrwxrwx")
  local all = { rootfs = carton.rootfs.host(), args = { "sh", "-c", program.run }, cwd = "/work", stdin = "null",
    stdout = "capture", stderr = "capture", timeout = 120, mounts = { { type = "tmpfs", target = "/tmp" },
      work .. ":/work" },
    env = { PATH = PATH, LC_ALL = "C" } }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  local c <close> = carton.container(all)
  local status = c:run()
  return ("%s\n%s%s"):format(status.code, status.stdout, status.stderr)
end

--- Learn from a program, write the profile to a file and read it, and hold the program to it: it has to do the same.
function learned.check(program)
  local path = helper.tmpdir() .. "/learned.lua"
  local first
  do
    local recording <close> = carton.learn.record()
    first = run(program)
    assert.equal(first:sub(1, 1) == "0" and "0" or "", first:match("^%d+"), first)
    recording:save(path)
    recording:save(path) -- added to itself
  end
  local profile = carton.learn.load(path).container
  assert.same(program.notes or {}, profile.notes)
  assert.equal(first, run(program, { seccomp = profile.seccomp, capabilities = profile.capabilities,
    landlock = profile.landlock }))
  for _, enforce in ipairs { false, true } do
    local replay <close> = carton.learn.replay({ container = profile }, { enforce = enforce })
    assert.equal(first, run(program))
    assert.same({}, replay:findings())
  end
end

-- The payload of learn_spec.lua with calls about files that chance gives.
local function chance(rootfs, seed, fields)
  local all = { rootfs = rootfs, args = { "payload", "chance", tostring(seed) } }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return run({ setup = learned.places }, all)
end

--- What the directory is made of in which the payload moves things.
learned.places = "mkdir -p one/sub one/a two && touch one/file one/other one/sub/file two/b && ln -s file one/link && "
  .. "chmod -R a+rwX ."

--- Learn from two runs of calls that chance gives, and hold each to its profile and to that of both.
function learned.check_chance(rootfs, seed)
  local first, made, names = {}, {}, { "seccomp", "capabilities", "landlock" }
  for i = 1, 2 do
    local recording <close> = carton.learn.record()
    first[i] = chance(rootfs, seed + i - 1)
    made[i] = recording:profiles()
  end
  for i = 1, 2 do
    for what, profile in pairs { own = carton.learn.merge(made[i]), both = carton.learn.merge(made[1], made[2]) } do
      local fields = {}
      for _, name in ipairs(names) do
        fields[name] = profile.container[name]
      end
      assert.equal(first[i], chance(rootfs, seed + i - 1, fields), ("seed %d: %s"):format(seed + i - 1, what))
      local replay <close> = carton.learn.replay(profile)
      chance(rootfs, seed + i - 1)
      assert.same({}, replay:findings(), ("seed %d: %s"):format(seed + i - 1, what))
    end
  end
end

local USES <const> = { "look", "attribute", "read_file", "read_dir", "write_file", "truncate", "execute", "make_reg",
  "make_dir", "make_sym", "remove_file", "remove_dir", "refer", "ioctl_dev" }
local NAMES <const> = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "*", "[*]", "a (deleted)", "\n" }

--- What a program might have been seen to do, by chance.
function learned.random(random)
  local files = require("carton.learn.files")
  local seen = require("carton.learn.observation").new(math.huge)
  local function one_of(list)
    return list[random(#list)]
  end
  local width = random(#NAMES)
  local function path(use, top)
    local names = { "", top or one_of { "usr", "tmp", "proc/self", "dev/pts" } }
    for _ = 1, random(3) do
      names[#names + 1] = NAMES[random(width)]
    end
    local is_directory = use:find("dir") or use == "look" or use == "refer"
    return files.escape(table.concat(names, "/") .. (is_directory and "" or ".*"))
  end
  for _ = 1, random(80) do
    local use = one_of(USES)
    seen:add_path(random(40) == 1 and path("look") .. "/*" or path(use), use, "x")
  end
  for _ = 1, random(0, 6) do
    local kind = one_of { "make_reg", "make_dir", "make_sym" }
    seen:add_move(kind, path(kind, "usr"), path(kind, one_of { "usr/x", "tmp" }), "rename")
  end
  for _ = 1, random(9) do
    seen.calls[one_of { "read", "mount", "openat", "getppid" }] = true
    seen:add_value(one_of { "socket", "ioctl", "prctl" }, random(0, 200))
    seen.denied[one_of { "mount", "socket", "bpf" }] = one_of { "EPERM", "ENOSYS" }
  end
  for _ = 1, random(0, 4) do
    local name = one_of { "CHOWN", "KILL", "SETUID" }
    seen:add_capability(name, "x")
    seen.ambient[one_of { name, "CHOWN" }] = true
    seen:add_port(one_of { "bind", "connect" }, random(0, 3))
  end
  for _ = 1, random(0, 1) do
    seen:add_note(one_of { "io_uring", "bind", "connect", "paths", "hidden" })
    seen:add_start(one_of { "program", "init", "threads" })
  end
  return seen
end

-- What rules do not allow of what was seen.
local function missing(seen, landlock)
  local rules, files, rights, list = require("carton.learn.rules"), require("carton.learn.files"), {}, {}
  for _, rule in ipairs(carton.landlock.step(landlock).rules or {}) do
    rights[rule.path] = rights[rule.path] or {}
    for _, right in ipairs(rule.access) do
      rights[rule.path][right] = true
    end
  end
  rules.each(seen.paths, function(path, right, where)
    list[#list + 1] = not rules.given(rights, files.unescape(where))[right] and right .. " " .. path or nil
  end)
  for _, move in pairs(seen.moves) do
    local real = { kind = move.kind, from = files.unescape(move.from), to = files.unescape(move.to) }
    list[#list + 1] = #rules.gained(rights, real, files.unescape(rules.source(seen.paths, move))) > 0
      and "move " .. move.from .. " " .. move.to or nil
  end
  return list
end

--- Hold merging to its laws with profiles that chance gives: in any order, step by step or at once, and once is enough;
-- what one of them allows, the result allows.
function learned.check_merge(seed)
  local state = seed
  local function random(low, high) -- the same numbers whoever else asks for some
    low, high = high and low or 1, high or low
    state = (state * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff
    return low + (state >> 33) % (high - low + 1)
  end
  local merge, make = carton.learn.merge, require("carton.learn.profile").make
  local seen, made = {}, {}
  for i = 1, 3 do
    seen[i] = learned.random(random)
    made[i] = { container = make(seen[i], require("carton.core").architecture, 6) }
  end
  local at_once = carton.learn.text(merge(made[1], made[2], made[3]))
  for what, other in pairs {
    ["step by step"] = merge(merge(made[1], made[2]), made[3]),
    ["from behind"] = merge(made[3], merge(made[2], made[1])),
    ["twice"] = merge(made[2], made[1], made[3], made[2], merge(made[1], made[3])) } do
    assert.equal(at_once, carton.learn.text(other), ("seed %d: %s"):format(seed, what))
  end
  assert.equal(carton.learn.text(made[1]), carton.learn.text(merge(made[1])), ("seed %d: alone"):format(seed))
  local merged = merge(made[1], made[2], made[3]).container
  for i = 1, 3 do
    assert.same({}, missing(seen[i], made[i].container.landlock), ("seed %d: %d"):format(seed, i))
    assert.same({}, missing(seen[i], merged.landlock), ("seed %d: %d merged"):format(seed, i))
  end
end

return learned
