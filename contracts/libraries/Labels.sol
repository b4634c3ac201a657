// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Label} from "../interfaces/IModelRegistry.sol";

/// @title The rules for names, checked byte by byte; docs/spec/contract.md, section 2
/// @dev A set of bytes is a bitmap: bit c is one when byte c is in the set.
library Labels {
    uint256 private constant DIGITS = 0x3ff << 0x30;
    uint256 private constant LOWER = 0x3ffffff << 0x61;
    uint256 private constant UPPER = 0x3ffffff << 0x41;
    uint256 private constant DASH = 1 << 0x2d;
    uint256 private constant DOT = 1 << 0x2e;
    uint256 private constant UNDERSCORE = 1 << 0x5f;

    uint256 private constant MAX_NAME = 96;

    // The parts of a Semantic Version, in order.
    uint256 private constant MINOR = 1;
    uint256 private constant PATCH = 2;
    uint256 private constant PRERELEASE = 3;
    uint256 private constant BUILD = 4;

    function isNamespace(Label label) internal pure returns (bool) {
        return _isWord(label, LOWER | DIGITS, LOWER | DIGITS | DASH);
    }

    function isBranch(Label label) internal pure returns (bool) {
        return _isWord(label, LOWER | DIGITS, LOWER | DIGITS | DASH | DOT | UNDERSCORE);
    }

    /// @dev What reads as a version is no channel, so that a reader can tell `@1.2.0` from `@stable`.
    function isChannel(Label label) internal pure returns (bool) {
        return isBranch(label) && !isVersion(label);
    }

    function isModelName(string calldata name) internal pure returns (bool) {
        bytes calldata text = bytes(name);
        uint256 size = text.length;
        if (size == 0 || size > MAX_NAME) return false;
        bytes1 last;
        for (uint256 i = 0; i < size; ++i) {
            bytes1 c = text[i];
            if (!_in(LOWER | UPPER | DIGITS | DASH | DOT | UNDERSCORE, c) || (c == "." && last == ".")) return false;
            last = c;
        }
        return _in(LOWER | UPPER | DIGITS, text[0]) && _in(LOWER | UPPER | DIGITS, last);
    }

    /// @dev Semantic Versions 2.0.0, section 2, 9 and 10, in one pass over the identifiers.
    function isVersion(Label label) internal pure returns (bool valid) {
        bytes32 text = Label.unwrap(label);
        uint256 part;
        uint256 start;
        bool numeric = true;
        for (uint256 i = 0;; ++i) {
            bytes1 c = i < 32 ? text[i] : bytes1(0);
            if (_in(DIGITS, c)) continue;
            if (part >= PRERELEASE && _in(LOWER | UPPER | DASH, c)) {
                numeric = false;
                continue;
            }
            bool leadingZero = numeric && i > start + 1 && text[start] == "0";
            if (i == start || (leadingZero && part != BUILD)) return false;
            if (c == 0) return part >= PATCH && text << (8 * i) == 0;
            part = _partAfter(part, c);
            if (part == 0) return false;
            start = i + 1;
            numeric = true;
        }
    }

    /// @dev The text without its padding.
    function toText(Label label) internal pure returns (bytes memory text) {
        bytes32 word = Label.unwrap(label);
        uint256 size;
        while (size < 32 && word[size] != 0) ++size;
        text = abi.encodePacked(word);
        assembly ("memory-safe") {
            mstore(text, size)
        }
    }

    /// @dev The namespace in front of the first slash, which is within the first 33 bytes.
    function namespaceOf(string memory fullName) internal pure returns (Label) {
        bytes32 word = bytes32(bytes(fullName));
        uint256 size;
        while (size < 32 && word[size] != "/") ++size;
        return Label.wrap(word & bytes32(type(uint256).max << (256 - 8 * size)));
    }

    function _isWord(Label label, uint256 ends, uint256 inside) private pure returns (bool) {
        bytes32 text = Label.unwrap(label);
        uint256 size;
        for (; size < 32 && text[size] != 0; ++size) {
            if (!_in(inside, text[size])) return false;
        }
        return size > 0 && _in(ends, text[0]) && _in(ends, text[size - 1]) && text << (8 * size) == 0;
    }

    /// @dev The part of a version that separator c opens; zero if it may not stand here.
    function _partAfter(uint256 part, bytes1 c) private pure returns (uint256) {
        if (c == ".") return part < PATCH ? part + MINOR : part == PATCH ? 0 : part;
        if (c == "-") return part == PATCH ? PRERELEASE : 0;
        if (c == "+") return part == PATCH || part == PRERELEASE ? BUILD : 0;
        return 0;
    }

    function _in(uint256 set, bytes1 c) private pure returns (bool) {
        return (set >> uint8(c)) & 1 == 1;
    }
}
