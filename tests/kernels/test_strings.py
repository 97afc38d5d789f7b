from m6rec.kernels.arrays.strings import pack_strings


def test_strings_come_back_in_order_whatever_their_alphabet() -> None:
    values = ["", "plain", "Ötzi", "映画"]
    packed = pack_strings(values)
    assert [packed[index] for index in range(len(packed))] == values


def test_no_strings_at_all() -> None:
    assert len(pack_strings([])) == 0
