#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a pod of two. The second container joins the first one's network and ipc namespaces, as containers of a
-- Kubernetes pod do, and keeps a root and processes of its own: they talk over 127.0.0.1.
-- Needs: perl, which is part of most systems; root or not.
local carton = require "carton"

local server <close> = carton.container {
  name = "server",
  rootfs = carton.rootfs.host(),
  stdout = "capture",
  args = { "perl", "-MIO::Socket::INET", "-e", [[
    my $listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8080", Listen => 5, ReuseAddr => 1) or die $!;
    my $client = $listen->accept or die $!;
    print $client "hello from the server, " . scalar(my @p = glob("/proc/[0-9]*")) . " process\n";
  ]] },
}:start()

local client <close> = carton.container {
  name = "client",
  rootfs = carton.rootfs.host(),
  namespaces = { net = server, ipc = server },
  timeout = 20,
  args = { "perl", "-MIO::Socket::INET", "-e", [[
    for (1..200) {
      my $peer = IO::Socket::INET->new("127.0.0.1:8080");
      if ($peer) { print "the client read: ", <$peer>; exit 0 }
      select(undef, undef, undef, 0.02);
    }
    die "nobody answers: $!";
  ]] },
}

local status = client:run()
server:wait(5)
return status
