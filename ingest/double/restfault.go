package double

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"millrace/schema"
)

// asked finds the running faults of some kinds that are about a call or an
// attempt. n tells calls apart.
func (f *faults) asked(path string, n uint64, kinds ...string) []*running {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hit []*running
	for _, r := range f.running {
		if slices.Contains(kinds, r.Kind) && (len(r.Paths) == 0 || slices.Contains(r.Paths, path)) && share(r.Share, mix(r.draw, 4, n)) {
			hit = append(hit, r)
		}
	}
	return hit
}

// remaining is how long a fault will still last, by the wall.
func (f *faults) remaining(r *running) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := f.now.Sub(f.began)
	if r.onMarket() {
		gone = time.Duration(f.d.market.now()-f.market) * time.Microsecond
	}
	return max(0, f.wall(r.Fault, r.end-gone))
}

// answer answers a call as the faults of the moment have it; false leaves it
// to be answered well, perhaps late.
func (f *faults) answer(c *call, r *http.Request, path string, n uint64) bool {
	for _, hit := range f.asked(path, n, faultSlow, fault5xx, faultBan, fault429) {
		switch hit.Kind {
		case faultSlow:
			timer := time.NewTimer(f.wall(hit.Fault, hit.Delay))
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
			timer.Stop()
			continue
		case fault5xx:
			switch mix(hit.draw, 5, n) % 3 {
			case 0:
				c.fail(-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
				c.status = http.StatusServiceUnavailable
			case 1:
				c.fail(-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.")
				c.status = http.StatusGatewayTimeout
			default: // what stands in front of it speaks HTML
				c.failed, c.status, c.body = true, http.StatusBadGateway, []byte("<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n")
			}
		case faultBan:
			c.wait = f.remaining(hit)
			c.fail(-1003, "Way too much request weight used; IP banned until "+strconv.FormatInt(time.Now().Add(c.wait).UnixMilli(), 10)+
				". Please use WebSocket Streams for live updates to avoid bans.")
			c.status, c.wait = http.StatusTeapot, max(c.wait, 1)
		case fault429:
			c.fail(-1003, "Too many requests; please use the websocket for live updates to avoid polling the API.")
			c.status, c.wait = http.StatusTooManyRequests, max(f.remaining(hit), 1)
		}
		return true
	}
	return false
}

// refuses reports whether an attempt to connect is cut off.
func (f *faults) refuses(n uint64) bool { return len(f.asked("", n, faultRefuse)) > 0 }

// skew is how far the time that is told is off.
func (f *faults) skew() schema.Time {
	all := schema.Time(0)
	for _, r := range f.asked("", 0, faultSkew) {
		all += micros(r.Skew)
	}
	return all
}
