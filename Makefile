# SPDX-License-Identifier: MIT
# Builds, tests and installs Carton: `make help` lists what there is.

PREFIX ?= /usr/local
DESTDIR ?=
LUA ?= lua5.4
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
BUILD ?= build
V ?= 0

version := $(shell sed -n 's/.*define CARTON_VERSION "\(.*\)".*/\1/p' include/carton.h)
lua_cflags = $(shell $(PKG_CONFIG) --cflags lua5.4 2>/dev/null || $(PKG_CONFIG) --cflags lua)
lua_archive = $(shell $(CC) -print-file-name=liblua5.4.a)
# a system without the archive has the program load the library
lua_libs = $(if $(filter /%,$(lua_archive)),$(lua_archive),$(shell \
	$(PKG_CONFIG) --libs lua5.4 2>/dev/null || $(PKG_CONFIG) --libs lua))

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
own_cflags = -std=gnu11 -D_GNU_SOURCE -Iinclude -Isrc $(warnings) $(lua_cflags) $(CPPFLAGS) $(CFLAGS)

sources := $(filter-out src/main.c src/math.c src/init.c,$(wildcard src/*.c))
objects := $(sources:src/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/init_data.o $(BUILD)/obj/filters.o
modules := $(sort $(shell find lua -name '*.lua'))
argparse = $(shell $(LUA) -e 'print(package.searchpath("argparse", package.path) or "")')

# says so before another version stumbles over the syntax
lua54 = $(LUA) -e 'if _VERSION ~= "Lua 5.4" then io.stderr:write("carton: Lua 5.4 needed, $(LUA) is ", _VERSION, "\n") os.exit(1) end'

program := $(BUILD)/bin/carton
core := $(BUILD)/lib/lua/5.4/carton/core.so

ifeq ($(V),0)
say = @printf '%-5s %s\n' '$(1)' '$(2)';
Q := @
endif

ifneq ($(filter clean,$(MAKECMDGOALS)),) # whatever -j says
.NOTPARALLEL:
endif

.PHONY: all
all: $(program) $(core) ## build the program and the module (the default)

$(BUILD)/obj/math.o: own_cflags += -fno-builtin
$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,src/$*.o)$(CC) $(own_cflags) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/obj/init_data.o $(BUILD)/obj/filters.o $(BUILD)/obj/modules.o: $(BUILD)/obj/%.o: $(BUILD)/%.c
	$(call say,CC,$*.o)$(CC) $(own_cflags) -fPIC -fvisibility=hidden -c -o $@ $<

# x86 alone has this protection, and only its compilers know the option.
init_cflags := $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),-fcf-protection=none)

# The init has no C library and no start files: it is carried along and runs in any image.
$(BUILD)/init: src/init.c src/init_guard.c src/init_guard.h src/search.c src/search.h src/sys.h src/step.h src/util.h Makefile
	@mkdir -p $(BUILD)/obj
	$(call say,CC,src/init)$(CC) -std=gnu11 -D_GNU_SOURCE -Isrc $(warnings) -Os -ffreestanding \
		-fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie $(init_cflags) \
		-nostdlib -static -no-pie -s -Wl,-z,noseparate-code,--build-id=none \
		-o $@ src/init.c src/init_guard.c src/search.c

$(BUILD)/init_data.c: $(BUILD)/init src/embed.lua
	$(call say,LUA,$@)$(lua54) src/embed.lua bytes init $< > $@.new && mv $@.new $@

$(BUILD)/filters.c: $(wildcard lua/carton/seccomp/*.lua) src/embed.lua
	@mkdir -p $(BUILD)/obj
	$(call say,LUA,$@)LUA_PATH='lua/?.lua;;' $(lua54) src/embed.lua filters > $@.new && mv $@.new $@

$(BUILD)/modules.c: $(modules) src/embed.lua
	@mkdir -p $(BUILD)/obj
	$(call say,LUA,$@)$(lua54) src/embed.lua modules $(modules) argparse=$(argparse) > $@.new && mv $@.new $@

$(core): $(objects)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-z,now,-z,nodelete -o $@ $(objects)

# Lua comes along, so that nothing but the C library is loaded at start.
$(program): $(objects) $(BUILD)/obj/main.o $(BUILD)/obj/math.o $(BUILD)/obj/modules.o
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,-E,-z,now,-O1,--as-needed,--hash-style=gnu -o $@ $^ \
		$(lua_libs) -lc -lm

-include $(wildcard $(BUILD)/obj/*.d)

.PHONY: deps demo test check asan test-setup test-vm test-cgroup2 test-systemd vm-tools bench
deps: ## install what building and testing needs (as root or through sudo)
	$(Q).ci/deps build test

demo: ## set up, build, and run a first container
	$(Q).ci/deps build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(program) examples/hello.lua

test: ## set up, build, and run every spec, as root and as an unprivileged user
	$(Q).ci/deps build test
	$(Q)$(MAKE) --no-print-directory all attack-tools
	$(Q).ci/test

check: all attack-tools ## run the specs that need no root
	$(Q).ci/test --unprivileged

asan: ## run the specs under the address and undefined-behaviour sanitizers
	$(Q)$(MAKE) --no-print-directory all attack-tools BUILD=build/asan \
		CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
	$(Q)BUILD=build/asan .ci/test --asan

test-setup: all ## prove the set-up in pristine minimal systems, entered with Carton
	$(Q).ci/test-setup

test-vm: test-cgroup2 test-systemd ## run the specs that need cgroup v2, or systemd, in virtual machines (as root)

test-cgroup2 test-systemd: vm-tools
test-cgroup2:
	$(Q)spec/vm/run -t 2400 spec/vm/specs $(ARGS)
test-systemd:
	$(Q)spec/vm/run -S spec/vm/systemd $(ARGS)

vm-tools:
	$(Q).ci/deps build test vm
	$(Q)$(MAKE) --no-print-directory all attack-tools

bench: all $(addprefix $(BUILD)/bench/,floor measure true) ## compare with other runtimes: medians and ratios
	$(Q)BUILD=$(BUILD) $(program) spec/bench/bench.lua $(ARGS)

$(BUILD)/bench/floor $(BUILD)/bench/measure: $(BUILD)/bench/%: spec/bench/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE $(warnings) -O2 -static -o $@ $<

$(BUILD)/bench/true: spec/bench/true.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -Os -ffreestanding -nostdlib -static -no-pie -s \
		-Wl,-z,noseparate-code,--build-id=none -o $@ $<

attack_tools := $(addprefix $(BUILD)/,attack/payload attack/loader attack/reaper containment/probe)
.PHONY: attack-tools attack-table
attack-tools: $(attack_tools)

attack-table: all $(attack_tools) ## try the attacks on Carton and on the OCI runtimes installed, in a virtual machine (as root)
	$(Q)spec/vm/run -t 5400 env RUNTIME="$(RUNTIME)" sh -c 'eval "$$(make -s env)"; $(LUA) spec/attack/compare.lua $(ARGS)'

$(BUILD)/attack/payload $(BUILD)/attack/reaper $(BUILD)/containment/probe: $(BUILD)/%: spec/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE $(warnings) -O2 -static -o $@ $<

# A dynamic loader: no C library, no relocations.
$(BUILD)/attack/loader: spec/attack/loader.c src/sys.h
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE -Isrc $(warnings) -Os -ffreestanding -fno-stack-protector \
		-nostdlib -static-pie -s -o $@ $<

.PHONY: prove stress run-stress fuzz run-fuzz
prove: ## prove every step of a launch necessary: remove each, exchange those whose order matters
	$(Q).ci/deps build test
	$(Q)$(MAKE) --no-print-directory all attack-tools
	$(Q)eval "$$($(MAKE) -s env)" && CARTON_PROGRAM=$(CURDIR)/$(program) \
		$(LUA) "$$(command -v busted)" --pattern=_prove $(ARGS) spec/containment

stress: ## inject faults, thousands of launches, containers and filters, bombs; STRESS_STEP=9 does a ninth
	$(Q).ci/deps build test
	$(Q)$(MAKE) --no-print-directory run-stress

run-stress: all attack-tools $(addprefix $(BUILD)/stress/,inject witness starve libseccomp)
	$(Q)eval "$$($(MAKE) -s env)" && CARTON_PROGRAM=$(CURDIR)/$(program) BUILD=$(BUILD) \
		$(LUA) "$$(command -v busted)" --pattern=_stress $(ARGS) spec/stress

$(BUILD)/stress/inject: spec/stress/inject.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE $(warnings) -O2 -o $@ $<

$(BUILD)/stress/libseccomp: spec/stress/libseccomp.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE $(warnings) -O2 -o $@ $< -lseccomp

$(BUILD)/stress/witness: spec/stress/witness.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE $(warnings) -O2 -static -o $@ $<

$(BUILD)/stress/starve: spec/stress/starve.c src/main.c $(objects) $(BUILD)/obj/math.o $(BUILD)/obj/modules.o
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(own_cflags) -o $@ $< $(filter %.o,$^) $(lua_libs) -Wl,-E -lm

fuzz: ## fuzz the decoders of foreign input, each for ten seconds or as libFuzzer's ARGS say
	$(Q).ci/deps build fuzz
	$(Q)$(MAKE) --no-print-directory run-fuzz BUILD=build/fuzz CC=clang CFLAGS='-O1 -g \
		-D__SANITIZE_ADDRESS__ -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined'

run-fuzz: $(patsubst spec/fuzz/%.c,$(BUILD)/%,$(wildcard spec/fuzz/*.c))
	$(Q)for target in $^; do \
		name=$${target##*/}; mkdir -p $(BUILD)/corpus/$$name; echo "fuzz: $$name"; \
		$$target -max_len=4096 -detect_leaks=0 -len_control=0 -print_final_stats=1 -verbosity=0 -artifact_prefix=$(BUILD)/ \
			$(or $(ARGS),-max_total_time=10) $(BUILD)/corpus/$$name spec/fuzz/seeds/$$name || exit 1; done

# as an archive, a target takes what it does not replace
$(BUILD)/core.a: $(objects)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(BUILD)/%: spec/fuzz/%.c $(BUILD)/core.a $(wildcard spec/fuzz/*.h src/*.c)
	$(call say,CC,$@)$(CC) $(own_cflags) -fsanitize=fuzzer -o $@ $< $(BUILD)/core.a $(lua_libs) -lm

.PHONY: lint format doc
lint: $(BUILD)/init_data.c $(BUILD)/filters.c $(BUILD)/modules.c ## luacheck, clang-format, cppcheck, and the compiler's warnings as errors
	$(Q).ci/lint

format: ## format the C files
	$(Q).ci/lint --format

doc: ## write the reference into build/doc
	$(call say,LDOC,$(BUILD)/doc/index.html)cd lua && ldoc -q -c config.ld -d $(if $(filter /%,$(BUILD)),$(BUILD),$(CURDIR)/$(BUILD))/doc . >/dev/null

.PHONY: install uninstall clean env help compile_commands.json
bin_dir = $(DESTDIR)$(PREFIX)/bin
lib_dir = $(DESTDIR)$(PREFIX)/lib
share_dir = $(DESTDIR)$(PREFIX)/share
installed = $(bin_dir)/carton $(lib_dir)/lua/5.4/carton/core.so $(lib_dir)/pkgconfig/carton.pc \
	$(DESTDIR)$(PREFIX)/include/carton.h $(share_dir)/man/man1/carton.1 \
	$(share_dir)/bash-completion/completions/carton $(share_dir)/zsh/site-functions/_carton \
	$(share_dir)/fish/vendor_completions.d/carton.fish \
	$(filter-out %/config.ld %.rockspec,$(modules:lua/%=$(share_dir)/lua/5.4/%))

install: all ## install below DESTDIR and PREFIX
	$(Q)for m in $(modules:lua/%=%); do install -D -m 644 lua/$$m $(share_dir)/lua/5.4/$$m || exit 1; done
	$(Q)install -D -m 755 $(program) $(bin_dir)/carton
	$(Q)install -D -m 755 $(core) $(lib_dir)/lua/5.4/carton/core.so
	$(Q)install -D -m 644 include/carton.h $(DESTDIR)$(PREFIX)/include/carton.h
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(version)|' src/carton.pc.in > $(BUILD)/carton.pc
	$(Q)install -D -m 644 $(BUILD)/carton.pc $(lib_dir)/pkgconfig/carton.pc
	$(Q)$(program) help --man > $(BUILD)/carton.1
	$(Q)install -D -m 644 $(BUILD)/carton.1 $(share_dir)/man/man1/carton.1
	$(Q)for shell in bash zsh fish; do \
		$(program) help --completion $$shell > $(BUILD)/completion.$$shell || exit 1; done
	$(Q)install -D -m 644 $(BUILD)/completion.bash $(share_dir)/bash-completion/completions/carton
	$(Q)install -D -m 644 $(BUILD)/completion.zsh $(share_dir)/zsh/site-functions/_carton
	$(Q)install -D -m 644 $(BUILD)/completion.fish $(share_dir)/fish/vendor_completions.d/carton.fish

.PHONY: install-module
install-module: $(core)
	$(Q)for m in $(modules:lua/%=%); do install -D -m 644 lua/$$m $(LUADIR)/$$m || exit 1; done
	$(Q)install -D -m 755 $(core) $(LIBDIR)/carton/core.so

uninstall: ## remove exactly what install put in place
	$(Q)rm -f $(installed)
	$(Q)-rmdir $(patsubst lua/%,$(share_dir)/lua/5.4/%,$(filter lua/carton/%/,$(sort $(dir $(modules))))) \
		$(share_dir)/lua/5.4/carton $(lib_dir)/lua/5.4/carton 2>/dev/null

clean: ## remove what was built
	$(Q)rm -rf $(BUILD)

env: ## print what makes a shell use this checkout: eval "$(make -s env)"
	@echo 'export PATH="$(if $(filter /%,$(BUILD)),$(BUILD),$(CURDIR)/$(BUILD))/bin:$$PATH";'
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;";'
	@echo 'export LUA_CPATH="$(if $(filter /%,$(BUILD)),$(BUILD),$(CURDIR)/$(BUILD))/lib/lua/5.4/?.so;;";'

compile_commands.json: ## write build/compile_commands.json for editors
	$(Q)mkdir -p $(BUILD)
	$(Q){ echo '['; for f in $(filter-out src/init.c,$(wildcard src/*.c)); do \
		echo "{\"directory\":\"$(CURDIR)\",\"file\":\"$$f\",\"command\":\"$(CC) $(own_cflags) -c $$f\"},"; \
		done | sed '$$ s/,$$//'; echo ']'; } > $(BUILD)/compile_commands.json

help: ## list the targets
	@sed -n 's/^\([a-z][a-z._-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 22
