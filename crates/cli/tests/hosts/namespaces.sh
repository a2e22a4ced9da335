# Makes a network namespace for each host that is named, each on a link of its own to a router. Run by `unshare` as the
# root of a new user, network and mount namespace; everything is gone when the standard input ends.
set -e
mount -t tmpfs none /run
mkdir /run/netns
{ cat /etc/hosts; echo "10.77.0.2 cloister.example.org"; } > /run/hosts
mount --bind /run/hosts /etc/hosts
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
number=0
for host in "$@"; do
  ip netns add "$host"
  ip link add "to-$host" type veth peer name eth0 netns "$host"
  ip addr add "10.77.$number.1/24" dev "to-$host"
  ip link set "to-$host" up
  ip -n "$host" addr add "10.77.$number.2/24" dev eth0
  ip -n "$host" link set lo up
  ip -n "$host" link set eth0 up
  ip -n "$host" route add default via "10.77.$number.1"
  number=$((number + 1))
done
echo ready
exec cat > /dev/null
