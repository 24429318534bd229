// Writes number_table.txt: what Go prints for the numbers that matter, as lines of the number's
// bits, its text in the text format, and its text in OpenMetrics where that is another one.
//
// Both forms are what client_golang's expfmt makes of strconv.AppendFloat(out, value, 'g', -1, 64):
// the text format writes -0 as 0, and OpenMetrics adds ".0" to what has neither a point nor an
// exponent.
//
// To make the table anew: go run core/src/number_table.go > core/src/number_table.txt
package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// text is the value as the text format has it.
func text(value float64) string {
	if value == 0 {
		return "0"
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// openMetrics is the value as OpenMetrics has it.
func openMetrics(value float64) string {
	text := text(value)
	if math.IsNaN(value) || math.IsInf(value, 0) || strings.ContainsAny(text, ".e") {
		return text
	}
	return text + ".0"
}

// random is splitmix64, so that no release of Go can give other numbers.
type random uint64

func (state *random) bits() uint64 {
	*state += 0x9e3779b97f4a7c15
	z := uint64(*state)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below is a number from 0 to most - 1.
func (state *random) below(most uint64) float64 {
	return float64(state.bits() % most)
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprintf(out, "# Made by number_table.go with %s: bits, text format, OpenMetrics if it differs.\n",
		runtime.Version())

	known := map[uint64]bool{}
	row := func(values ...float64) {
		for _, value := range values {
			bits := math.Float64bits(value)
			if known[bits] {
				continue
			}
			known[bits] = true
			fmt.Fprintf(out, "%x\t%s", bits, text(value))
			if openMetrics(value) != text(value) {
				fmt.Fprintf(out, "\t%s", openMetrics(value))
			}
			fmt.Fprintln(out)
		}
	}
	around := func(value float64) {
		row(math.Nextafter(value, 0), value, math.Nextafter(value, math.Inf(1)))
	}

	// The ends, and what is no number.
	row(0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Inf(-1), math.NaN())
	row(math.Float64frombits(0x7ff0000000000001), math.Float64frombits(0xffffffffffffffff))
	row(math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64)
	for bits := uint64(1); bits <= 24; bits++ {
		row(math.Float64frombits(bits))
	}
	around(0x1p-1022)

	// Powers of two: above one of them the numbers are twice as far apart as below. Powers of ten: the
	// digits change their number.
	for exponent := -1074; exponent <= 1023; exponent++ {
		if exponent%7 == 0 || exponent >= -30 && exponent <= 70 {
			around(math.Ldexp(1, exponent))
		}
	}
	for exponent := -323; exponent <= 308; exponent++ {
		value, _ := strconv.ParseFloat(fmt.Sprintf("1e%d", exponent), 64)
		if exponent%5 == 0 || exponent >= -9 && exponent <= 24 {
			around(value)
		}
		if exponent >= -9 && exponent <= 24 {
			row(-value, 1.5*value, 9.5*value, 9.999*value, 0.999999*value, 9.999999999999999*value)
		}
	}
	for exponent := 0; exponent <= 17; exponent++ {
		for distance := -2.5; distance <= 2.5; distance += 0.5 {
			row(math.Pow10(exponent)+distance, -math.Pow10(exponent)-distance)
		}
	}

	// Where the fixed form ends: below 1e-4, and from 1e6 on, whatever is rounded to it.
	for _, edge := range []float64{1e-4, 1e-5, 1e5, 1e6, 1e7, 1e15, 1e16, 1e17, 1e20, 1e21, 1e22} {
		below, above := edge, edge
		for step := 0; step < 6; step++ {
			row(below, above, -below, -above)
			below, above = math.Nextafter(below, 0), math.Nextafter(above, math.Inf(1))
		}
	}
	row(999999.5, 999999.9, 999999.99999, 999999.9999999999, 1000000.5, 0.00009999, 0.00010001, 0.000123456789)

	// Where whole numbers are not all there any more, and where those of the kernel end.
	for _, edge := range []float64{1 << 53, 1 << 54, 1 << 63, 1 << 64} {
		value := edge
		for step := 0; step < 9; step++ {
			value = math.Nextafter(value, 0)
		}
		for step := 0; step < 18; step++ {
			row(value)
			value = math.Nextafter(value, math.Inf(1))
		}
	}

	// Numbers that shortest-digit printers have got wrong: two candidates of the same length, and bounds
	// that may or may not be taken.
	row(2.98023223876953125e-8, 9.5367431640625e-7, 4.940656e-318, 1.18575755e-316, 2.989102097996e-312,
		9.0608011534336e15, 4.708356024711512e18, 9.409340012568248e18, 5.764607523034235e39,
		1.152921504606847e40, 2.305843009213694e40, 8.41e21, 2.0919495182368195e19, 2.6153245263757307e19,
		9.007199254740993e15, 2.2250738585072011e-308, 2.2250738585072014e-308, 1.7800590868057611e-307,
		5e-324, 1e23, 9.5e-323, 0.1, 0.2, 0.3, math.Nextafter(0.3, 1), 1.0/3, 2.0/3, 100.0/3, 1e6/7)

	state := random(1)
	// Halfway cases: whole numbers that are even or a multiple of five beyond 2^53, and halves below it.
	for i := 0; i < 120; i++ {
		row(math.Ldexp(float64(1<<52|state.bits()%(1<<52)), 1+i%11))
		row(math.Ldexp(float64(1<<52|state.bits()%(1<<52)), -1-i%11))
		row(float64(state.bits()%(1<<40)) * 5 * math.Pow(2, float64(i%13)))
	}
	// What hosts count: bytes, pages, sectors, ticks, ratios, temperatures, times of every unit.
	for i := 0; i < 100; i++ {
		row(state.below(1<<20)*1024, state.below(1<<30)*4096, state.below(1<<33)*512)
		row(state.below(1e9)/100, state.below(1e12)/1e3, state.below(1e12)/1e6, state.below(1e15)/1e9)
		row(state.below(1e6)/1e6, state.below(100000)/1000, state.below(1e4)/255, -state.below(1e5)/1000)
		row(1.7e9+state.below(1e9)/1e3, 1.7e9+state.below(1e9)/1e9, state.below(1<<53))
	}
	// Anything.
	for i := 0; i < 500; i++ {
		row(math.Float64frombits(state.bits()))
	}
	for i := uint(0); i < 100; i++ {
		row(math.Float64frombits(state.bits() >> (12 + i%52)))
		row(float64(state.bits() >> (i % 64)))
	}
}
